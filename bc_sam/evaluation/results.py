"""The results of an evaluation as plain data: saved as JSON, used by the tables, the plots and the report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bc_sam.errors import ConfigError
from bc_sam.utils.json_config import JsonConfig

#: The source name for training on all domains together.
ALL = "all"

#: The source name for training on all domains but the held-out one.
OTHERS = "others"


class DomainPair(NamedTuple):
    """The domain that a classifier was trained on, or `ALL`, and the domain that it was tested on."""

    source: str
    target: str


#: Number of equal confidence bins of a reliability diagram.
CONFIDENCE_BINS = 10


@dataclass(frozen=True)
class PairResult(JsonConfig):
    """The metrics of one classifier, trained on one domain (or all) and tested on one, in one fold.

    Attributes:
        classifier: Name of the classifier, such as ``"rf"``.
        source: Domain that it was trained on; ``"all"`` for all of them together.
        target: Domain that it was tested on.
        fold: Index of the held-out fold.
        n_train: Number of training cells.
        n_test: Number of test cells.
        accuracy: Accuracy, 0..1. Cells of a class that the source lacks count as wrong, as in the paper.
        balanced_accuracy: Mean recall over the classes present in the test cells, 0..1.
        macro_f1: Mean F1 over the classes present in the test cells, 0..1.
        common_accuracy: Accuracy on the test cells whose class is present in the source, 0..1.
        confusion: Counts, rows true and columns predicted, in the order of the evaluation's labels.
        missing: Classes present in the test cells but not in the source.
        reliability: Number of cells, mean confidence and accuracy of each of ten confidence bins; the confidence is
            the probability of the predicted class. Empty in files of older versions.
        restricted: Balanced accuracy, 0..1, with predictions restricted to the classes present in the test cells;
            ``None`` in files of older versions.
        merged: Labels that count as another one, since the training or the test cells do not distinguish them; see
            `bc_sam.evaluation.merging`.

    Raises:
        ConfigError: If the reliability has a number of bins other than ten or none.
    """

    classifier: str
    source: str
    target: str
    fold: int
    n_train: int
    n_test: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    common_accuracy: float
    confusion: list[list[int]]
    missing: list[str] = field(default_factory=list)
    reliability: list[tuple[int, float, float]] = field(default_factory=list)
    restricted: float | None = None
    merged: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.reliability) not in (0, CONFIDENCE_BINS):
            bins = len(self.reliability)
            raise ConfigError(f"reliability has {bins} bins instead of {CONFIDENCE_BINS}. Evaluate the model again.")


@dataclass(frozen=True)
class DiceResult(JsonConfig):
    """Whole-cell Dice (0..1) of one domain in one fold, on the annotated masks of held-out cells."""

    domain: str
    fold: int
    mean: float
    std: float
    n: int


@dataclass(frozen=True)
class StageTiming(JsonConfig):
    """Wall-clock seconds and peak resident memory (MiB) of one stage in one fold."""

    stage: str
    fold: int
    seconds: float
    peak_memory_mib: float


@dataclass(frozen=True)
class Evaluation(JsonConfig):
    """All results of one run.

    Attributes:
        protocol: ``"strict"`` (the test fold takes part in no stage), ``"paper"`` (stages 1 and 2 see every image),
            ``"leave-one-out"`` (the test domain takes part in no stage), ``"adapted"`` (held-out slides of the
            laboratory adapted to) or ``"external"`` (a finished model on new cells).
        labels: Class names, in the order of the confusion matrices.
        domains: Domain names.
        seed: Seed of the folds and of the training.
        n_folds: Number of folds of the split, or of domains to hold out in turn.
        pairs: One result per classifier, source, target and evaluated fold.
        dice: Segmentation quality.
        timings: Cost of each stage.
        counts: Number of images, ``counts[domain][label]``.
        notes: Caveats for the reader, such as unreadable images and missing classes.
        environment: Versions, processor, base model.
    """

    protocol: str
    labels: list[str]
    domains: list[str]
    seed: int
    n_folds: int
    pairs: list[PairResult] = field(default_factory=list)
    dice: list[DiceResult] = field(default_factory=list)
    timings: list[StageTiming] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def classifiers(self) -> list[str]:
        """Names of the classifiers, in evaluation order."""
        return list(dict.fromkeys(pair.classifier for pair in self.pairs))

    @property
    def domain_pairs(self) -> list[DomainPair]:
        """The pairs of domains, in evaluation order."""
        return list(dict.fromkeys(DomainPair(pair.source, pair.target) for pair in self.pairs))

    def select(self, classifier: str, source: str, target: str) -> list[PairResult]:
        """Returns the results of one classifier on one pair of domains, one per fold."""
        key = (classifier, source, target)
        return [pair for pair in self.pairs if (pair.classifier, pair.source, pair.target) == key]

    def mean_std(self, classifier: str, source: str, target: str, metric: str = "accuracy") -> tuple[float, float]:
        """Returns mean and standard deviation of a metric over the folds; the deviation of a single fold is NaN."""
        values = [getattr(pair, metric) for pair in self.select(classifier, source, target)]
        values = [value for value in values if value is not None]
        if not values:
            return float("nan"), float("nan")
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def confusion(self, classifier: str, source: str, target: str) -> np.ndarray:
        """Returns the confusion matrix (k, k), int64, summed over the folds; rows true, columns predicted."""
        total = np.zeros((len(self.labels), len(self.labels)), dtype=np.int64)
        for pair in self.select(classifier, source, target):
            total += np.asarray(pair.confusion, dtype=np.int64)
        return total

    def reliability(self, classifier: str, source: str, target: str) -> np.ndarray:
        """Returns number of cells, mean confidence and accuracy of each confidence bin, pooled over the folds.

        Returns:
            (10, 3) float64; zeros for empty bins, and for all bins if the file has no reliability.
        """
        folds = [pair.reliability for pair in self.select(classifier, source, target) if pair.reliability]
        bins = np.array(folds, dtype=np.float64).reshape(-1, CONFIDENCE_BINS, 3)
        cells = bins[:, :, :1].sum(axis=0)
        sums = (bins[:, :, :1] * bins[:, :, 1:]).sum(axis=0)
        return np.hstack([cells, sums / np.maximum(cells, 1)])

    def calibration_error(self, classifier: str, source: str, target: str) -> float:
        """Returns the expected calibration error, 0..1: the mean gap between confidence and accuracy over cells.

        NaN without reliability. See Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.
        """
        cells, confidence, accuracy = self.reliability(classifier, source, target).T
        return float((cells * np.abs(confidence - accuracy)).sum() / cells.sum()) if cells.sum() else float("nan")

    def merged(self) -> Iterator[tuple[str, str, str]]:
        """Yields (source, target, text) for each pair of domains with merged labels."""
        for source, target in self.domain_pairs:
            pairs = [p for p in self.pairs if (p.source, p.target) == (source, target)]
            merged = {label: counted_as for pair in pairs for label, counted_as in pair.merged.items()}
            if merged:
                yield source, target, ", ".join(f"{label} counts as {other}" for label, other in merged.items())

    def missing(self) -> Iterator[tuple[str, str, list[str]]]:
        """Yields (source, target, classes) for each pair of domains whose target has classes that the source lacks."""
        for source, target in self.domain_pairs:
            pairs = [p for p in self.pairs if (p.source, p.target) == (source, target)]
            classes = [name for name in self.labels if any(name in pair.missing for pair in pairs)]
            if classes:
                yield source, target, classes


def pool_dice(results: Sequence[DiceResult]) -> list[dict[str, Any]]:
    """Returns the mean and standard deviation over the images of all folds, by domain."""
    pooled = []
    for domain in dict.fromkeys(result.domain for result in results):
        folds = [result for result in results if result.domain == domain]
        n = [result.n for result in folds]
        means = np.array([result.mean for result in folds])
        mean = np.average(means, weights=n)
        variance = np.average(np.array([result.std for result in folds]) ** 2 + (means - mean) ** 2, weights=n)
        pooled.append({"domain": domain, "images": sum(n), "mean": float(mean), "std": float(np.sqrt(variance))})
    return pooled
