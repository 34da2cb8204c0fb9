"""Predictions as people read them: a line a cell, a CSV file, a differential count."""

import csv
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

import numpy as np

from bc_sam.models.bc_sam import Prediction


def top_two(prediction: Prediction, labels: Sequence[str]) -> list[tuple[str, float]]:
    """Returns the two most probable labels of a readable image, with their probabilities (0..1)."""
    assert prediction.probabilities is not None
    best = np.argsort(-prediction.probabilities, kind="stable")[:2]
    return [(labels[i], float(prediction.probabilities[i])) for i in best]


def describe(name: str, prediction: Prediction, labels: Sequence[str]) -> str:
    """Returns one line: file, label and probability, second guess and probability, or why it cannot be read."""
    if prediction.error is not None:
        return f"{name}: cannot be read"
    (first, p), (second, q) = top_two(prediction, labels)
    return f"{name}: {first} {p:.2f} (else {second} {q:.2f})"


class CsvTable:
    """A CSV file that grows by a row a prediction.

    The columns are file, label, probability, second, second_probability, error, and the probability of each label.

    Args:
        file: Open text file.
        labels: Class names in the order of the probabilities.
    """

    def __init__(self, file: TextIO, labels: Sequence[str]) -> None:
        self.labels = labels
        self.writer = csv.writer(file)
        self.writer.writerow(["file", "label", "probability", "second", "second_probability", "error", *labels])

    def add(self, name: str, prediction: Prediction) -> None:
        """Writes the row of one cell."""
        if prediction.probabilities is None:
            self.writer.writerow([name, "", "", "", "", str(prediction.error), *[""] * len(self.labels)])
            return
        (first, p), (second, q) = top_two(prediction, self.labels)
        shares = [f"{share:.4f}" for share in prediction.probabilities]
        self.writer.writerow([name, first, f"{p:.4f}", second, f"{q:.4f}", "", *shares])


def render_differential(counts: Counter[str]) -> str:
    """Returns the differential count: how many cells of each class, and their share, the most common first."""
    total = sum(counts.values())
    width = max(map(len, counts))
    lines = [f"  {label:<{width}}  {count:>6}  {count / total:6.1%}" for label, count in counts.most_common()]
    return "\n".join([f"Differential count of {total} cells", *lines])
