"""The cross-domain protocol: which cells a classifier learns from, which it is tested on, and how it did."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers
from bc_sam.config.arguments import ClassifierArguments
from bc_sam.config.arguments import Protocol as EvaluationProtocol
from bc_sam.errors import DataError
from bc_sam.evaluation.results import ALL, CONFIDENCE_BINS, DiceResult, PairResult
from bc_sam.networks.feature_store import ShardedArray
from bc_sam.training.synthetic_cells import Companions
from bc_sam.utils.memmap import DiskArray

_MASKS_AT_ONCE = 256


def score(
    probabilities: np.ndarray, true: np.ndarray, known: np.ndarray, labels: tuple[str, ...], **identity: Any
) -> PairResult:
    """Scores predictions.

    Args:
        probabilities: (n, n_labels), rows sum to 1; the prediction is the largest.
        true: (n,) label index.
        known: Label indices that the classifier has learned.
        labels: Class names.
        **identity: `classifier`, `source`, `target`, `fold` and `n_train` of the result.

    Example:
        >>> ids = dict(classifier="rf", source="a", target="b", fold=0, n_train=9)
        >>> score(np.array([[1, 0], [0.8, 0.2]]), np.array([0, 1]), np.array([0]), ("x", "y"), **ids).common_accuracy
        1.0
    """
    predicted = probabilities.argmax(axis=1)
    present = np.unique(true)
    common = np.isin(true, known)
    right = predicted == true
    return PairResult(
        **identity,
        n_test=len(true),
        accuracy=float(right.mean()),
        # Recall over the classes of the test cells only: a class that is predicted but absent is no class to recall.
        balanced_accuracy=float(np.mean([right[true == label].mean() for label in present])),
        macro_f1=float(f1_score(true, predicted, labels=present, average="macro", zero_division=0)),
        common_accuracy=float(right[common].mean()) if common.any() else 0.0,
        confusion=confusion_matrix(true, predicted, labels=range(len(labels))).tolist(),
        missing=[labels[label] for label in present if label not in known],
        reliability=reliability(probabilities, true),
    )


def reliability(probabilities: np.ndarray, true: np.ndarray) -> list[tuple[int, float, float]]:
    """Compares confidence, the largest probability of a cell, with accuracy.

    Args:
        probabilities: (n, n_labels), rows sum to 1.
        true: (n,) label index.

    Returns:
        For each tenth of 0..1 the number of cells whose confidence lies in it, their mean confidence and the share
        of them named right; zeros where there are none.

    Example:
        >>> reliability(np.array([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]]), np.array([0, 1, 0]))[5:8]
        [(1, 0.5, 1.0), (0, 0.0, 0.0), (2, 0.75, 0.5)]
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    part = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    cells = np.bincount(part, minlength=CONFIDENCE_BINS)
    means = [np.bincount(part, v, CONFIDENCE_BINS) / np.maximum(cells, 1) for v in (confidence, right)]
    return list(zip(cells.tolist(), *(mean.tolist() for mean in means), strict=True))


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


def dice(predicted: np.ndarray, hand: np.ndarray) -> np.ndarray:
    """Overlap of predicted and hand masks, 2·|A∩B| / (|A|+|B|).

    Args:
        predicted: (n, H, W) bool.
        hand: (n, H, W) bool.

    Returns:
        (n,) float, 0..1; 1 where both masks are empty.
    """
    overlap = (predicted & hand).sum(axis=(1, 2))
    total = predicted.sum(axis=(1, 2)) + hand.sum(axis=(1, 2))
    return np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))


def dice_of_rows(predicted: np.ndarray | ShardedArray, hand: np.ndarray | DiskArray, rows: np.ndarray) -> np.ndarray:
    """The Dice of some rows (m,) of masks that lie on disk, (n, H, W) each, in constant memory; see `dice`."""
    blocks = [rows[start : start + _MASKS_AT_ONCE] for start in range(0, len(rows), _MASKS_AT_ONCE)]
    return np.concatenate([np.empty(0), *(dice(predicted[block] > 0, hand[block] > 0) for block in blocks)])


def dice_by_domain(
    values: np.ndarray, domains: np.ndarray, domain_names: tuple[str, ...], fold: int
) -> list[DiceResult]:
    """Summarises the Dice of some cells, (n,) each, for each domain that has any."""
    results = []
    for domain in np.unique(domains):
        own = values[domains == domain]
        results.append(DiceResult(domain_names[domain], fold, float(own.mean()), float(own.std()), len(own)))
    return results
