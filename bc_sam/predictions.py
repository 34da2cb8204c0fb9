"""Predictions as people read them: a line a cell, a CSV file, a differential count."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from bc_sam.errors import DataError
from bc_sam.images import find_images
from bc_sam.model import Prediction


def find_cells(paths: Iterable[str]) -> list[Path]:
    """Lists the image files that some files, folders and glob patterns stand for, each once.

    Raises:
        DataError: If one of them stands for nothing.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if path.is_dir():
            files = find_images(path)
        elif path.exists():
            files = [path]
        else:
            files = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor) if path.anchor else path)))
        if not files:
            raise DataError(f"There is no image {given}. Give image files, folders, or a pattern in quotes.")
        found.update(dict.fromkeys(files))
    return list(found)


def top_two(prediction: Prediction, labels: Sequence[str]) -> list[tuple[str, float]]:
    """Returns the two most probable labels of a readable image, with their probabilities (0..1)."""
    assert prediction.probabilities is not None
    best = np.argsort(-prediction.probabilities, kind="stable")[:2]
    return [(labels[i], float(prediction.probabilities[i])) for i in best]


def describe(prediction: Prediction, labels: Sequence[str]) -> str:
    """Returns one line: file, label and probability, second guess and probability, or why it cannot be read."""
    if prediction.error is not None:
        return f"{prediction.source}: cannot be read"
    (first, p), (second, q) = top_two(prediction, labels)
    return f"{prediction.source}: {first} {p:.2f} (else {second} {q:.2f})"


def write_csv(path: Path, predictions: Iterable[Prediction], labels: Sequence[str]) -> Iterator[Prediction]:
    """Writes each prediction to a CSV file as it comes, and hands it on.

    The columns are file, label, probability, second, second_probability, error, and the probability of each label.
    """
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "probability", "second", "second_probability", "error", *labels])
        for prediction in predictions:
            if prediction.error is not None:
                writer.writerow([prediction.source, "", "", "", "", str(prediction.error), *[""] * len(labels)])
            else:
                guesses = [
                    f"{x:.4f}" if isinstance(x, float) else x for pair in top_two(prediction, labels) for x in pair
                ]
                shares = [f"{p:.4f}" for p in prediction.probabilities]  # type: ignore[union-attr]
                writer.writerow([prediction.source, *guesses, "", *shares])
            yield prediction


def render_differential(counts: Counter[str]) -> str:
    """Returns the differential count: how many cells of each class, and their share, the most common first."""
    total = sum(counts.values())
    width = max(map(len, counts))
    lines = [f"  {label:<{width}}  {count:>6}  {count / total:6.1%}" for label, count in counts.most_common()]
    return "\n".join([f"Differential count of {total} cells", *lines])
