"""How sure a figure is that was measured on so many cells: intervals by drawing the test cells anew."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bc_sam.evaluation.results import Evaluation

_DRAWS = 2_000


@dataclass(frozen=True)
class Interval:
    """A figure and the limits between which 95 of 100 draws of the test cells lie, all 0..1."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True)
class DirectionIntervals:
    """The figures of one classifier in one direction.

    Attributes:
        source: What it learned from.
        target: What it was tested on.
        cells: Test cells of all folds.
        figures: An interval for accuracy, balanced accuracy and macro F1, by their titles.
    """

    source: str
    target: str
    cells: int
    figures: Mapping[str, Interval]


def evaluation_intervals(evaluation: Evaluation, classifier: str) -> list[DirectionIntervals]:
    """Returns the intervals of every direction in which a classifier was tested; all folds are taken together.

    They tell how far chance in the choice of the test cells goes. What another slide, stain or training would change
    is not in them.
    """
    found = []
    for source, target in evaluation.directions:
        confusion = np.asarray(evaluation.confusion(classifier, source, target))
        found.append(DirectionIntervals(source, target, int(confusion.sum()), confusion_intervals(confusion)))
    return found


def confusion_intervals(confusion: np.ndarray, seed: int = 0) -> dict[str, Interval]:
    """Returns a 95 % interval for each figure of a confusion matrix (k, k), rows true: the percentile bootstrap.

    Each draw takes as many cells of each true class as there were, with replacement (stratified).

    Example:
        >>> str(confusion_intervals(np.array([[90, 10], [0, 0]]))["accuracy"])
        '90.0 (84.0 to 96.0)'
    """
    true = confusion.sum(axis=1)
    shown = confusion[true > 0]
    random = np.random.default_rng(seed)
    draws = np.zeros((_DRAWS, *confusion.shape), np.int64)
    draws[:, true > 0] = np.stack(
        [random.multinomial(row.sum(), row / row.sum(), size=_DRAWS) for row in shown], axis=1
    )
    measured, drawn = _figures(confusion[None]), _figures(draws)
    return {
        name: Interval(float(values[0]), *np.quantile(drawn[name], (0.025, 0.975)).tolist())
        for name, values in measured.items()
    }


def _figures(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """Figures (n,) of confusion matrices (n, k, k); means are over the classes that the test cells have."""
    right = np.diagonal(confusions, axis1=1, axis2=2)
    true, named = confusions.sum(axis=2), confusions.sum(axis=1)
    present = true[0] > 0
    recall = right[:, present] / true[:, present]
    f1 = 2 * right[:, present] / (true + named)[:, present]
    return {
        "accuracy": right.sum(axis=1) / true.sum(axis=1),
        "balanced accuracy": recall.mean(axis=1),
        "macro F1": f1.mean(axis=1),
    }
