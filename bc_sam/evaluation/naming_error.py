"""How often a classifier takes one class for another, measured on held-out cells, and what that means for shares."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bc_sam.evaluation.results import ALL, OTHERS, Evaluation

# Weight, in cells, of the assumption that a class is named correctly in seven of ten cases, beside the held-out ones.
_PRIOR_CELLS = 2.0
_PRIOR_CORRECT = 0.7

_DRAWS = 400
_ITERATIONS = 60


@dataclass(frozen=True)
class NamingError:
    """The confusion of a classifier on held-out cells.

    Attributes:
        labels: Class names.
        confusion: (k, k) number of held-out cells, rows true and columns predicted.
    """

    labels: tuple[str, ...]
    confusion: np.ndarray

    @classmethod
    def of(cls, evaluation: Evaluation | None, classifier: str) -> "NamingError | None":
        """Returns the confusion of a classifier that is stored with a model, over all laboratories.

        Laboratories that do not distinguish all subtypes are left out if others do. ``None`` if nothing is stored.
        """
        pairs = [pair for pair in evaluation.pairs if pair.classifier == classifier] if evaluation else []
        together = [pair for pair in pairs if pair.source in (ALL, OTHERS)]
        pairs = together or [pair for pair in pairs if pair.source == pair.target] or pairs
        pairs = [pair for pair in pairs if not pair.merged] or pairs
        if evaluation is None or not pairs:
            return None
        return cls(tuple(evaluation.labels), np.sum([pair.confusion for pair in pairs], axis=0))

    def restricted(self, labels: Sequence[str]) -> "NamingError":
        """Returns the confusion among some labels, as if no other could be true or predicted."""
        rows = [self.labels.index(label) for label in labels if label in self.labels]
        return NamingError(tuple(self.labels[row] for row in rows), self.confusion[np.ix_(rows, rows)])

    def possible_counts(self, named: Sequence[int], seed: int = 0) -> np.ndarray:
        """Draws numbers of cells per true class that would explain how many were given each name.

        Each draw resamples the names and the confusion, of which only a sample is known, and estimates the true
        shares by maximum likelihood (expectation maximization).

        Args:
            named: (k,) number of cells that the classifier gave each name.
            seed: Seed of the draws.

        Returns:
            (draws, k) float64; each row sums to the number of named cells.
        """
        given = np.asarray(named)
        total, k = int(given.sum()), len(given)
        random = np.random.default_rng(seed)
        if not total:
            return np.zeros((_DRAWS, k))
        prior = np.full((k, k), (1 - _PRIOR_CORRECT) / max(1, k - 1))
        np.fill_diagonal(prior, _PRIOR_CORRECT if k > 1 else 1)
        gamma = random.standard_gamma(self.confusion + _PRIOR_CELLS * prior, (_DRAWS, k, k))
        named_as = gamma / gamma.sum(axis=-1, keepdims=True)  # P(name | true class), rows of a Dirichlet distribution
        names = random.multinomial(total, given / total, _DRAWS)
        shares = (names + 0.5) / (names + 0.5).sum(axis=-1, keepdims=True)
        for _ in range(_ITERATIONS):
            joint = shares[:, :, None] * named_as
            shares = np.einsum("btn,bn->bt", joint / joint.sum(axis=1, keepdims=True), names / total)
        return total * shares
