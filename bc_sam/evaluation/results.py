"""The results of an evaluation as plain data: saved as JSON, read by the tables, the plots and the report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bc_sam.errors import ConfigError
from bc_sam.utils.json_config import JsonConfig

#: The source that stands for all domains together.
ALL = "all"

#: The source that stands for all domains but the one that is held out.
OTHERS = "others"


class DomainPair(NamedTuple):
    """What a classifier was trained on, a domain or `ALL`, and the domain that it was tested on."""

    source: str
    target: str


#: Equal parts that the confidence, 0..1, is cut into to be compared with the accuracy.
CONFIDENCE_BINS = 10


@dataclass(frozen=True)
class PairResult(JsonConfig):
    """One classifier, trained on one domain (or on all) and tested on another, in one fold.

    Attributes:
        classifier: Name of the classifier, such as ``"rf"``.
        source: Domain that the classifier was trained on; ``"all"`` for all of them together.
        target: Domain that it was tested on.
        fold: Number of the fold that was held out, from 0.
        n_train: Training cells.
        n_test: Test cells.
        accuracy: Share of correct test cells, 0..1. A class that the source lacks counts as wrong, as in the paper.
        balanced_accuracy: Mean recall over the classes present in the test cells, 0..1.
        macro_f1: Mean F1 over the classes present in the test cells, 0..1.
        common_accuracy: Accuracy on the test cells whose class the source has, 0..1.
        confusion: Counts, rows true and columns predicted, both in the order of the evaluation's labels.
        missing: Classes present in the test cells that the source never showed.
        reliability: For each tenth of the confidence, which is the probability of the predicted class, 0..1: the
            number of cells, their mean confidence and their accuracy. Empty in files of older versions.
        restricted: Balanced accuracy, 0..1, when predictions are restricted to the classes that the test cells have,
            as if it were known what can occur; ``None`` in files of older versions.
        merged: Labels that were counted as another one, since the training cells or the test cells do not tell them
            apart; see `bc_sam.evaluation.merging`.

    Raises:
        ConfigError: If the reliability has neither ten parts nor none.
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
            parts = len(self.reliability)
            raise ConfigError(f"reliability has {parts} parts instead of {CONFIDENCE_BINS}. Measure the model again.")


@dataclass(frozen=True)
class DiceResult(JsonConfig):
    """Whole-cell Dice (0..1) of one domain in one fold, on annotated masks of held-out cells."""

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
    """Everything that one run measured.

    Attributes:
        protocol: ``"strict"`` (the test fold is in no stage), ``"paper"`` (stages 1 and 2 see every image) or
            ``"leave-one-out"`` (the tested laboratory is in no stage); ``"external"`` for a finished model on given
            cells.
        labels: Class names, in the order of the confusion matrices.
        domains: Names of the data sets.
        seed: Seed of the folds and of the training.
        n_folds: Number of folds that the data were cut into, or of laboratories to hold out in turn.
        pairs: One result for each classifier, source, target and measured fold.
        dice: Segmentation quality.
        timings: Cost of each stage.
        counts: Images of each class in each domain, ``counts[domain][label]``.
        notes: What a reader must know: images that could not be read, classes that a domain lacks.
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
        """Names of the classifiers, in the order in which they were measured."""
        return list(dict.fromkeys(pair.classifier for pair in self.pairs))

    @property
    def domain_pairs(self) -> list[DomainPair]:
        """The pairs of domains, in the order in which they were measured."""
        return list(dict.fromkeys(DomainPair(pair.source, pair.target) for pair in self.pairs))

    def select(self, classifier: str, source: str, target: str) -> list[PairResult]:
        """Returns the results of one classifier on one pair of domains, one per fold."""
        key = (classifier, source, target)
        return [pair for pair in self.pairs if (pair.classifier, pair.source, pair.target) == key]

    def mean_std(self, classifier: str, source: str, target: str, metric: str = "accuracy") -> tuple[float, float]:
        """Mean and standard deviation over the folds of one metric; the deviation of a single fold is NaN."""
        values = [getattr(pair, metric) for pair in self.select(classifier, source, target)]
        values = [value for value in values if value is not None]
        if not values:
            return float("nan"), float("nan")
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def confusion(self, classifier: str, source: str, target: str) -> np.ndarray:
        """Confusion matrix (labels, labels), int64, summed over the folds; rows true, columns predicted."""
        total = np.zeros((len(self.labels), len(self.labels)), dtype=np.int64)
        for pair in self.select(classifier, source, target):
            total += np.asarray(pair.confusion, dtype=np.int64)
        return total

    def reliability(self, classifier: str, source: str, target: str) -> np.ndarray:
        """Number of cells, mean confidence and accuracy in each tenth of the confidence, pooled over the folds.

        Returns:
            (10, 3) float64; zeros where a tenth has no cell. Where nothing is known, all of them are zeros.
        """
        folds = [pair.reliability for pair in self.select(classifier, source, target) if pair.reliability]
        bins = np.array(folds, dtype=np.float64).reshape(-1, CONFIDENCE_BINS, 3)
        cells = bins[:, :, :1].sum(axis=0)
        sums = (bins[:, :, :1] * bins[:, :, 1:]).sum(axis=0)
        return np.hstack([cells, sums / np.maximum(cells, 1)])

    def calibration_error(self, classifier: str, source: str, target: str) -> float:
        """Expected calibration error, 0..1: mean distance of confidence from accuracy, weighted by cells.

        NaN without any confidences. See Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.
        """
        cells, confidence, accuracy = self.reliability(classifier, source, target).T
        return float((cells * np.abs(confidence - accuracy)).sum() / cells.sum()) if cells.sum() else float("nan")

    def merged(self) -> Iterator[tuple[str, str, str]]:
        """Yields (source, target, text) for each pair of domains where some labels were counted as another one."""
        for source, target in self.domain_pairs:
            pairs = [p for p in self.pairs if (p.source, p.target) == (source, target)]
            merged = {label: counted_as for pair in pairs for label, counted_as in pair.merged.items()}
            if merged:
                yield source, target, ", ".join(f"{label} counts as {other}" for label, other in merged.items())

    def missing(self) -> Iterator[tuple[str, str, list[str]]]:
        """Yields (source, target, classes) for each pair of domains whose target has classes that the source lacks."""
        for source, target in self.domain_pairs:
            pairs = [p for p in self.pairs if (p.source, p.target) == (source, target)]
            lacking = [name for name in self.labels if any(name in pair.missing for pair in pairs)]
            if lacking:
                yield source, target, lacking


def pool_dice(results: Sequence[DiceResult]) -> list[dict[str, Any]]:
    """Pools the folds of each domain: mean and standard deviation over all their images."""
    pooled = []
    for domain in dict.fromkeys(result.domain for result in results):
        own = [result for result in results if result.domain == domain]
        n = [result.n for result in own]
        means = np.array([result.mean for result in own])
        mean = np.average(means, weights=n)
        variance = np.average(np.array([result.std for result in own]) ** 2 + (means - mean) ** 2, weights=n)
        pooled.append({"domain": domain, "images": sum(n), "mean": float(mean), "std": float(np.sqrt(variance))})
    return pooled
