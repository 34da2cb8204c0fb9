"""Cross-validation across domains: trains on each source, tests on each target."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers
from bc_sam.config.arguments import ClassifierArguments
from bc_sam.config.base import Protocol as EvaluationProtocol
from bc_sam.errors import DataError
from bc_sam.evaluation.metrics import dice, score
from bc_sam.evaluation.results import ALL, PairResult
from bc_sam.networks.feature_store import ShardedArray
from bc_sam.training.synthetic_cells import Companions
from bc_sam.utils.memmap import DiskArray

_MASKS_AT_ONCE = 256


@dataclass(frozen=True)
class LabelledLatents:
    """Latents of all cells, with what the protocol must know of each.

    Attributes:
        latents: (n, ...) what a classifier is given of each cell: float32 (n, d), or of a network the cell's number.
        labels: (n,) label index, -1 where it is not known.
        domains: (n,) index into `domain_names`.
        folds: (n,) fold of each cell.
        domain_names: Names of the data sets.
        label_names: Names of the classes.
        fraction: Share of the labels to learn from; of each class in each domain at least one.
        seed: Seed that chooses them.
        companions: Latents to learn from beside those of all cells, if any.
    """

    latents: np.ndarray
    labels: np.ndarray
    domains: np.ndarray
    folds: np.ndarray
    domain_names: tuple[str, ...]
    label_names: tuple[str, ...]
    fraction: float = 1.0
    seed: int = 1234
    companions: Companions | None = None

    def sources(self) -> list[str]:
        """The sources of the table: each domain with labels and, where there are several, all of them."""
        labelled = [name for d, name in enumerate(self.domain_names) if (self.labels[self.domains == d] >= 0).any()]
        return [*labelled, ALL] if len(labelled) > 1 else labelled

    def train_rows(self, source: str, fold: int) -> np.ndarray:
        """Labelled cells of a source outside the test fold, or the share of them that is shown.

        A smaller share is part of a larger one, and of a source the same as of all sources together.
        """
        chosen = (self.labels >= 0) & (self.folds != fold)
        rows = np.flatnonzero(chosen if source == ALL else chosen & self._of(source))
        return rows if self.fraction == 1 else np.sort(np.concatenate([*self._shown(rows)]))

    def lessons(self, source: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns latents and labels to learn from: those of some cells and, if the source is all, the companions."""
        latents, labels = self.latents[rows], self.labels[rows]
        if self.companions is None or source != self.sources()[-1]:
            return latents, labels
        return np.concatenate([latents, self.companions.latents]), np.concatenate([labels, self.companions.labels])

    def _shown(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The share of the cells of each class in each domain."""
        strata = np.stack([self.domains[rows], self.labels[rows]], axis=1)
        for domain, label in np.unique(strata, axis=0):
            own = rows[(strata == (domain, label)).all(axis=1)]
            own = np.random.default_rng([self.seed, domain, label]).permutation(own)
            yield own[: math.ceil(self.fraction * len(own))]

    def test_rows(self, source: str, target: str, fold: int, protocol: EvaluationProtocol) -> np.ndarray:
        """Labelled cells of a target in the test fold.

        Under the protocol ``"paper"`` a foreign data set is tested whole, although stages 1 and 2 saw its images.
        """
        rows = (self.labels >= 0) & self._of(target)
        if protocol == "strict" or source in (target, ALL):
            rows &= self.folds == fold
        return np.flatnonzero(rows)

    def _of(self, domain: str) -> np.ndarray:
        return self.domains == self.domain_names.index(domain)


class Fitted(Protocol):
    """A classifier that has learned."""

    @property
    def classes(self) -> np.ndarray:
        """Index of the label that each of its classes stands for, (k,) int64."""

    def predict_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, n_labels) of what `LabelledLatents.latents` holds of some cells."""


#: Fits classifiers, by name, to the cells of a source, whose rows it is given.
Fit = Callable[[str, np.ndarray], Mapping[str, Fitted]]


def evaluate_fold(
    cells: LabelledLatents, fold: int, protocol: EvaluationProtocol, arguments: ClassifierArguments, seed: int = 1234
) -> tuple[list[PairResult], dict[str, LatentClassifier]]:
    """Fits every classifier on every source and tests it on every target (BC-SAM, section 3.2).

    Args:
        cells: All cells.
        fold: The fold that is held out.
        protocol: ``"strict"`` or ``"paper"``.
        arguments: Which classifiers.
        seed: Seed of the classifiers.

    Returns:
        The results, and the classifiers that were fitted on the last source: all domains together.

    Raises:
        DataError: If there are no labelled cells to learn from.
    """
    classifiers: dict[str, LatentClassifier] = {}

    def fit(source: str, train: np.ndarray) -> Mapping[str, Fitted]:
        nonlocal classifiers
        classifiers = fit_classifiers(arguments.names, *cells.lessons(source, train), len(cells.label_names), seed)
        return classifiers

    return evaluate_sources(cells, fold, protocol, fit), classifiers


def evaluate_sources(cells: LabelledLatents, fold: int, protocol: EvaluationProtocol, fit: Fit) -> list[PairResult]:
    """Tests what is fitted on each source on every target.

    Args:
        cells: All cells.
        fold: The fold that is held out.
        protocol: ``"strict"`` or ``"paper"``.
        fit: Fits classifiers; called for each source in turn, for all domains together last.

    Raises:
        DataError: If there are no labelled cells to learn from.
    """
    results = []
    if not cells.sources():
        raise DataError("No image has a label, so there is nothing for a classifier to learn. Label some cells.")
    for source in cells.sources():
        train = cells.train_rows(source, fold)
        classifiers = fit(source, train)
        for target in cells.domain_names:
            test = cells.test_rows(source, target, fold, protocol)
            if not len(test):
                continue
            for name, classifier in classifiers.items():
                identity = {"classifier": name, "source": source, "target": target, "fold": fold}
                results.append(
                    score(
                        classifier.predict_proba(cells.latents[test]),
                        cells.labels[test],
                        classifier.classes,
                        cells.label_names,
                        n_train=len(train),
                        **identity,
                    )
                )
    return results


def dice_of_rows(predicted: np.ndarray | ShardedArray, hand: np.ndarray | DiskArray, rows: np.ndarray) -> np.ndarray:
    """The Dice of some rows (m,) of masks that lie on disk, (n, H, W) each, in constant memory; see `dice`."""
    blocks = [rows[start : start + _MASKS_AT_ONCE] for start in range(0, len(rows), _MASKS_AT_ONCE)]
    return np.concatenate([np.empty(0), *(dice(predicted[block] > 0, hand[block] > 0) for block in blocks)])
