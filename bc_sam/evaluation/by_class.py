"""The results of one classifier by class: precision, recall and F1, and what a class is taken for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bc_sam.evaluation.bootstrap import evaluation_intervals, explain_ends
from bc_sam.evaluation.results import Evaluation
from bc_sam.evaluation.tables import Score, align


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class that has test cells.

    Attributes:
        label: Its name.
        cells: Number of test cells.
        precision: Fraction of the cells with this label that are of the class.
        recall: Fraction of the class that gets this label.
        f1: Their harmonic mean.
        mistaken_for: The label that most of its other cells get, with their number; ``None`` if there are none.
    """

    label: str
    cells: int
    precision: Score
    recall: Score
    f1: Score
    mistaken_for: tuple[str, int] | None


def class_scores(confusion: np.ndarray, labels: Sequence[str]) -> list[ClassScores]:
    """Returns the scores of each class that has test cells.

    Args:
        confusion: Counts (k, k), rows true and columns predicted.
        labels: k class names.

    Example:
        >>> basophil, _ = class_scores(np.array([[3, 1], [0, 4]]), ["basophil", "monocyte"])
        >>> str(basophil.recall), basophil.mistaken_for
        ('75.0', ('monocyte', 1))
    """
    correct, actual, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    others = confusion - np.diag(correct)
    return [
        ClassScores(
            label=label,
            cells=int(actual[i]),
            precision=_fraction(correct[i], predicted[i]),
            recall=_fraction(correct[i], actual[i]),
            f1=_fraction(2 * correct[i], actual[i] + predicted[i]),
            mistaken_for=(labels[others[i].argmax()], int(others[i].max())) if others[i].any() else None,
        )
        for i, label in enumerate(labels)
        if actual[i]
    ]


def render_by_class(evaluation: Evaluation, classifier: str) -> str:
    """Returns the results of one classifier for a terminal: its metrics, and a table by class, per pair of domains.

    Args:
        evaluation: The results.
        classifier: One of its classifiers.
    """
    intervals = evaluation_intervals(evaluation, classifier)
    blocks = []
    for pair in intervals:
        metrics = "\n".join(f"{name}: {interval}" for name, interval in pair.metrics.items())
        scores = class_scores(evaluation.confusion(classifier, pair.source, pair.target), evaluation.labels)
        lines = [["", "cells", "precision", "recall", "F1", "most often mistaken for"], *map(_line, scores)]
        title = f"{classifier} on {pair.cells} cells of {pair.target}, % (95 % confidence interval)"
        blocks.append(f"{title}\n{metrics}\n\n{align(lines)}")
    note = explain_ends(interval for pair in intervals for interval in pair.metrics.values())
    return "\n\n".join([*blocks, *([note] if note else [])])


def _line(scores: ClassScores) -> list[str]:
    mistaken = "{} ({})".format(*scores.mistaken_for) if scores.mistaken_for else ""
    numbers = (scores.precision, scores.recall, scores.f1)
    return [scores.label, f"{scores.cells}", *(score.percent for score in numbers), mistaken]


def _fraction(part: int, whole: int) -> Score:
    return Score(part / whole if whole else math.nan)
