"""95 % bootstrap confidence intervals of a classifier's metrics and of the gain of one model over another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bc_sam.evaluation.results import Evaluation
from bc_sam.utils.json_config import JsonConfig

_DRAWS = 2_000
_QUANTILES = (0.025, 0.975)

#: With fewer held-out slides, or fewer held-out cells of any class, a comparison is inconclusive.
FEW_SLIDES, FEW_CELLS = 5, 10


@dataclass(frozen=True)
class Interval(JsonConfig):
    """An estimate and its 95 % bootstrap confidence interval, as fractions; printed in percent.

    Example:
        >>> str(Interval(0.9, 0.84, 0.96))
        '90.0 (84.0 to 96.0)'
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


def explain_ends(intervals: Iterable[Interval]) -> str | None:
    """Returns a note on intervals that end at their estimate; ``None`` if there are none.

    A recall of 100 % stays one in every bootstrap sample, so that the interval says nothing of the errors to come.

    Example:
        >>> explain_ends([Interval(0.9, 0.84, 0.96)]) is None
        True
    """
    if any(interval.value in (interval.low, interval.high) for interval in intervals):
        return (
            "An interval that ends at its own estimate is too narrow: resampling the test cells cannot show errors "
            "that none of them shows. Test on more cells to know."
        )
    return None


def resample(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws 2,000 bootstrap samples, each of as many items as there are.

    Args:
        counts: Number of items per category, (k,), with a positive sum.
        rng: Random generator.

    Returns:
        Number of drawn items per category, (2000, k) int64.

    Example:
        >>> resample(np.array([3, 0, 1]), np.random.default_rng(0)).sum(axis=1)[:3].tolist()
        [4, 4, 4]
    """
    return rng.multinomial(counts.sum(), counts / counts.sum(), size=_DRAWS)


def percentile_interval(value: float, draws: np.ndarray) -> Interval:
    """Returns the percentile bootstrap interval of an estimate.

    Args:
        value: The estimate on all items.
        draws: The estimate on each bootstrap sample, (n,).
    """
    low, high = np.quantile(draws, _QUANTILES)
    return Interval(float(value), float(low), float(high))


@dataclass(frozen=True)
class PairIntervals:
    """The metrics of one classifier on one pair of domains.

    Attributes:
        source: Domain that it was trained on.
        target: Domain that it was tested on.
        cells: Number of test cells of all folds.
        metrics: Intervals of ``"accuracy"``, ``"balanced accuracy"`` and ``"macro F1"``.
    """

    source: str
    target: str
    cells: int
    metrics: Mapping[str, Interval]


def evaluation_intervals(evaluation: Evaluation, classifier: str) -> list[PairIntervals]:
    """Returns the intervals of a classifier on every pair of domains, pooled over the folds.

    They cover the sampling of the test cells only, not the variation between slides, stains or training runs.
    """
    intervals = []
    for source, target in evaluation.domain_pairs:
        confusion = np.asarray(evaluation.confusion(classifier, source, target))
        intervals.append(PairIntervals(source, target, int(confusion.sum()), confusion_intervals(confusion)))
    return intervals


def confusion_intervals(confusion: np.ndarray, seed: int = 0) -> dict[str, Interval]:
    """Returns the intervals of the metrics of a confusion matrix, by a bootstrap stratified by true class.

    Args:
        confusion: Counts (k, k), rows true and columns predicted.
        seed: Seed of the bootstrap.

    Returns:
        Intervals of ``"accuracy"``, ``"balanced accuracy"`` and ``"macro F1"``; macro averages are over the classes
        that have test cells.

    Example:
        >>> str(confusion_intervals(np.array([[90, 10], [0, 0]]))["accuracy"])
        '90.0 (84.0 to 96.0)'
    """
    rng = np.random.default_rng(seed)
    present = confusion.sum(axis=1) > 0
    samples = np.zeros((_DRAWS, *confusion.shape), np.int64)
    samples[:, present] = np.stack([resample(row, rng) for row in confusion[present]], axis=1)
    estimates, draws = _metrics(confusion[None]), _metrics(samples)
    return {name: percentile_interval(values[0], draws[name]) for name, values in estimates.items()}


def _metrics(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """Returns metrics (n,) of confusion matrices (n, k, k), averaged over the classes that have test cells."""
    correct = np.diagonal(confusions, axis1=1, axis2=2)
    true, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    present = true[0] > 0
    recall = correct[:, present] / true[:, present]
    f1 = 2 * correct[:, present] / (true + predicted)[:, present]
    return {
        "accuracy": correct.sum(axis=1) / true.sum(axis=1),
        "balanced accuracy": recall.mean(axis=1),
        "macro F1": f1.mean(axis=1),
    }


@dataclass(frozen=True)
class Comparison(JsonConfig):
    """One classifier before and after adaptation, on the same held-out cells.

    Attributes:
        classifier: Name of the classifier.
        before: Balanced accuracy before.
        after: Balanced accuracy after.
        gain: Their difference, paired by cell.
        cells: Number of held-out cells.
        slides: Number of slides of the cells; an image of unknown slide counts as a slide.
        per_class: Number of held-out cells of each class, and its recall before and after.
        slides_known: Whether the slide of every cell is known.
    """

    classifier: str
    before: Interval
    after: Interval
    gain: Interval
    cells: int
    slides: int
    per_class: dict[str, tuple[int, float, float]]
    slides_known: bool = True

    @property
    def held_out(self) -> str:
        """The held-out cells in words, such as ``"80 held-out cells of 20 slides"``."""
        if not self.slides_known:
            return f"{self.cells:,} held-out images of unknown slides"
        return f"{self.cells:,} held-out cells of {self.slides:,} slide{'' if self.slides == 1 else 's'}"

    @property
    def verdict(self) -> str:
        """The conclusion in words."""
        rare = [name for name, (n, _, _) in self.per_class.items() if n < FEW_CELLS]
        if self.slides < FEW_SLIDES or rare:
            few_slides = self.slides < FEW_SLIDES
            unit = "slide" if self.slides_known else "independent image"
            slides = f"a single {unit}" if self.slides == 1 else f"only {self.slides} {unit}s"
            reason = slides if few_slides else f"fewer than {FEW_CELLS} {', '.join(rare)}"
            return f"Too few held-out cells to tell ({reason}). Label more cells, from other slides."
        if self.gain.low > 0:
            return "The new model is better."
        if self.gain.high < 0:
            return "The new model is WORSE. Keep the old one."
        return "It is not certain that the new model is better: the gain may be due to chance. Label more cells."


def compare(
    classifier: str,
    true: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    groups: np.ndarray,
    labels: Sequence[str],
    seed: int = 1234,
    *,
    slides_known: bool = True,
) -> Comparison:
    """Compares two sets of predictions for the same cells by balanced accuracy.

    Whole slides are resampled, since the cells of one slide are correlated. A single slide carries no information
    about others, so its intervals span the whole range.

    Args:
        classifier: Name of the classifier.
        true: (n,) label index.
        before: (n,) predicted label index.
        after: (n,) predicted label index.
        groups: (n,) slide index of each cell.
        labels: Class names.
        seed: Seed of the bootstrap.
        slides_known: Whether all of them are slides, rather than some single images of unknown slide.

    Example:
        >>> true = np.array([0, 1] * 10)
        >>> result = compare("rf", true, np.zeros(20, int), true, np.arange(20), ("x", "y"))
        >>> result.before.value, result.after.value, result.verdict
        (0.5, 1.0, 'The new model is better.')
    """
    slides, slide = np.unique(groups, return_inverse=True)
    classes, label = np.unique(true, return_inverse=True)
    shape = (len(slides), len(classes))
    cells = _counts(slide, label, np.ones(len(true)), shape)
    correct = [_counts(slide, label, predicted == true, shape) for predicted in (before, after)]
    old, new, gain = _paired_intervals(cells, correct[0], correct[1], np.random.default_rng(seed))
    recalls = [counts.sum(0) / cells.sum(0) for counts in correct]
    return Comparison(
        classifier=classifier,
        before=old,
        after=new,
        gain=gain,
        cells=len(true),
        slides=len(slides),
        per_class={
            labels[index]: (int(n), float(recall_before), float(recall_after))
            for index, n, recall_before, recall_after in zip(classes, cells.sum(0), *recalls, strict=True)
        },
        slides_known=slides_known,
    )


def _paired_intervals(
    cells: np.ndarray, before: np.ndarray, after: np.ndarray, rng: np.random.Generator
) -> tuple[Interval, Interval, Interval]:
    """Returns the intervals of balanced accuracy before and after, and of the gain.

    Args:
        cells: Number of cells per slide and class, (s, k).
        before: Number of correct ones before, (s, k).
        after: Number of correct ones after, (s, k).
        rng: Random generator; the three intervals share the same bootstrap samples.
    """
    old, new = (float(_balanced_accuracy(cells.sum(0)[None], counts.sum(0)[None])[0]) for counts in (before, after))
    if len(cells) == 1:
        return Interval(old, 0.0, 1.0), Interval(new, 0.0, 1.0), Interval(new - old, -1.0, 1.0)
    weights = resample(np.ones(len(cells), np.int64), rng)
    old_draws, new_draws = (_balanced_accuracy(weights @ cells, weights @ counts) for counts in (before, after))
    return (
        percentile_interval(old, old_draws),
        percentile_interval(new, new_draws),
        percentile_interval(new - old, new_draws - old_draws),
    )


def _counts(slide: np.ndarray, label: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Sums weights by slide and class."""
    table = np.zeros(shape)
    np.add.at(table, (slide, label), weight)
    return table


def _balanced_accuracy(cells: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Returns the mean recall (n,) over the classes present in each row of counts (n, k)."""
    present = cells > 0
    recall = np.where(present, correct / np.maximum(cells, 1), 0)
    return recall.sum(axis=1) / present.sum(axis=1)
