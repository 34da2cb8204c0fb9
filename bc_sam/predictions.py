"""Predictions as people read them: a line a cell, a CSV file, a differential count."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import glob
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from bc_sam.errors import DataError
from bc_sam.hub import is_hub_id
from bc_sam.images import IMAGE_SUFFIXES, find_images
from bc_sam.model import Prediction

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class NamedCells:
    """Cells to be named.

    Attributes:
        names: What to call each: the path of its file, or its name in its data set.
        images: The images, in the same order, in a form that `bc_sam.images.read_image` takes.
    """

    names: list[str]
    images: Iterable[Any]

    def __len__(self) -> int:
        return len(self.names)


def find_cells(sources: Iterable[str]) -> NamedCells:
    """Lists the cells that some files, folders, patterns, parquet sets and Hub data set ids stand for.

    A file that several of them stand for is listed once.

    Raises:
        DataError: If one of them stands for nothing, or is a model.
    """
    names: list[str] = []
    images: list[Iterable[Any]] = []
    for source in sources:
        path = Path(source)
        if any((path / name).exists() for name in ("run.json", "adaptation.json", "adapter/adapter_config.json")):
            raise DataError(f"{source} is a model, not cells. Say: bc-sam predict CELLS --model {source}")
        on_hub = is_hub_id(source) and path.suffix.lower() not in IMAGE_SUFFIXES
        if on_hub or path.suffix == ".parquet" or (path.is_dir() and any(path.rglob("*.parquet"))):
            dataset = _load_undecoded(source)
            names += dataset["file"]
            images.append(dataset["image"])
        else:
            known = set(names)
            files = [file for file in _find_files(source) if str(file) not in known]
            names += map(str, files)
            images.append(files)
    return NamedCells(names, chain.from_iterable(images))


def _load_undecoded(source: str) -> "Dataset":
    from datasets import Image

    from bc_sam.data import load_cells

    return load_cells(f"cells={source}").cast_column("image", Image(decode=False))


def _find_files(source: str) -> list[Path]:
    """The image files of a file, of a folder, or of the files and folders that a pattern matches."""
    matches = [source] if Path(source).exists() else sorted(glob(source, recursive=True))
    files = dict.fromkeys(
        file for match in map(Path, matches) for file in (find_images(match) if match.is_dir() else [match])
    )
    if not files:
        raise DataError(f"There is no image {source}. Give image files, folders, or a pattern in quotes.")
    return list(files)


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
