"""Is one model better than another? Balanced accuracy on the same held-out cells, with what chance may make of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bc_sam.utils.json_config import JsonConfig

_RESAMPLES = 2000

#: Fewer held-out slides, or cells of any class, than these cannot tell.
FEW_SLIDES, FEW_CELLS = 5, 10


@dataclass(frozen=True)
class Interval(JsonConfig):
    """A figure, 0..1, and the 95 % interval in which it lies."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:5.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True)
class Comparison(JsonConfig):
    """One classifier before and after, on the same cells.

    Attributes:
        classifier: Its name.
        before: Balanced accuracy before.
        after: Balanced accuracy after.
        gain: After less before, cell by cell the same ones.
        cells: Cells held out.
        slides: Slides, or other independent groups, that they come from.
        per_class: Held-out cells of each class, with the share named right before and after.
    """

    classifier: str
    before: Interval
    after: Interval
    gain: Interval
    cells: int
    slides: int
    per_class: dict[str, tuple[int, float, float]]

    @property
    def verdict(self) -> str:
        """What may be said of it, in words."""
        rare = [name for name, (n, _, _) in self.per_class.items() if n < FEW_CELLS]
        if self.slides < FEW_SLIDES or rare:
            few_slides = self.slides < FEW_SLIDES
            slides = "a single slide" if self.slides == 1 else f"only {self.slides} slides"
            why = slides if few_slides else f"fewer than {FEW_CELLS} {', '.join(rare)}"
            return f"Too little was held out to tell ({why}). Label more cells, of other slides."
        if self.gain.low > 0:
            return "The new model is better."
        if self.gain.high < 0:
            return "The new model is WORSE. Keep the old one."
        return "It is not certain that the new model is better: the gain may be chance. Label more cells."


def compare(
    classifier: str,
    true: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    groups: np.ndarray,
    labels: Sequence[str],
    seed: int = 1234,
) -> Comparison:
    """Compares two sets of predictions.

    The intervals come from drawing whole slides again, with return, since the cells of one slide are alike. A single
    slide tells nothing of the next, so all is possible then.

    Args:
        classifier: Its name.
        true: (n,) label index.
        before: (n,) predicted label index.
        after: (n,) predicted label index.
        groups: (n,) number of the slide of each cell.
        labels: Class names.
        seed: Seed of the drawing.

    Example:
        >>> true = np.array([0, 1] * 10)
        >>> result = compare("rf", true, np.zeros(20, int), true, np.arange(20), ("x", "y"))
        >>> result.before.value, result.after.value, result.verdict
        (0.5, 1.0, 'The new model is better.')
    """
    slides, slide = np.unique(groups, return_inverse=True)
    classes, label = np.unique(true, return_inverse=True)
    cells = _counts(slide, label, np.ones(len(true)), (len(slides), len(classes)))
    right = [_counts(slide, label, named == true, (len(slides), len(classes))) for named in (before, after)]
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(slides), np.full(len(slides), 1 / len(slides)), size=_RESAMPLES)
    scores = [_balanced(drawn @ cells, drawn @ part) for part in right]
    values = [float(_balanced(cells.sum(0)[None], part.sum(0)[None])[0]) for part in right]
    if len(slides) == 1:
        scores = [np.array([0.0, 1.0]), np.array([1.0, 0.0])]
    shares = [part.sum(0) / cells.sum(0) for part in right]
    return Comparison(
        classifier=classifier,
        before=_interval(values[0], scores[0]),
        after=_interval(values[1], scores[1]),
        gain=_interval(values[1] - values[0], scores[1] - scores[0]),
        cells=len(true),
        slides=len(slides),
        per_class={
            labels[name]: (int(n), float(old), float(new))
            for name, n, old, new in zip(classes, cells.sum(0), *shares, strict=True)
        },
    )


def _counts(slide: np.ndarray, label: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Sums a weight over the cells of each slide and class."""
    table = np.zeros(shape)
    np.add.at(table, (slide, label), weight)
    return table


def _balanced(cells: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that a draw holds, for each draw."""
    held = cells > 0
    recall = np.where(held, right / np.maximum(cells, 1), 0)
    return recall.sum(axis=1) / held.sum(axis=1)


def _interval(value: float, scores: np.ndarray) -> Interval:
    low, high = np.percentile(scores, [2.5, 97.5]) if len(scores) > 2 else (scores.min(), scores.max())
    return Interval(value, float(low), float(high))
