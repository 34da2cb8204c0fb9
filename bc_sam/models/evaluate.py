"""Evaluates a trained model on labelled cells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bc_sam.classifiers.fitting import require_finite
from bc_sam.data.cells import require_labels
from bc_sam.data.preparation import sample_evenly
from bc_sam.errors import DataError
from bc_sam.evaluation.merging import merged_labels
from bc_sam.evaluation.metrics import score
from bc_sam.evaluation.results import ALL, Evaluation, PairResult
from bc_sam.models.base import CellModel
from bc_sam.models.inspection import inspect_cells
from bc_sam.models.observation import Parts

if TYPE_CHECKING:
    from datasets import Dataset


def evaluate_model(model: CellModel, datasets: Sequence["Dataset"], *, batch_size: int | None = None) -> Evaluation:
    """Evaluates every classifier of a model on labelled data sets. Unreadable images are skipped and noted.

    Subtypes that a data set does not distinguish, such as the kinds of neutrophils, are merged there.

    Args:
        model: The model. Whether it was trained on these cells is not checked.
        datasets: Data sets as returned by the loaders of `bc_sam.data`.
        batch_size: Images per batch; by default chosen for the device.

    Raises:
        DataError: If a data set has no labelled image that can be read, or has other classes than the model.
    """
    pairs: list[PairResult] = []
    counts: dict[str, dict[str, int]] = {}
    notes: list[str] = []
    for dataset in datasets:
        require_labels(dataset, model.labels)
        domain = dataset[0]["domain"]
        probabilities, labels, unreadable = _labelled_probabilities(model, dataset, batch_size)
        notes += unreadable
        present, numbers = np.unique(labels, return_counts=True)
        counts[domain] = {model.labels[i]: int(n) for i, n in zip(present, numbers, strict=True)}
        for name, classifier in model.classifiers.items():
            if len(classifier.allowed_labels) < len(classifier.classes):
                allowed = ", ".join(model.labels[label] for label in classifier.allowed_labels)
                notes.append(f"{name} was restricted to the labels {allowed}.")
            identity = {"classifier": name, "source": ALL, "target": domain, "fold": 0, "n_train": 0}
            merged = merged_labels(classifier.classes, labels, model.labels)
            pairs.append(score(probabilities[name], labels, classifier.classes, model.labels, merged=merged, **identity))
    return Evaluation("external", list(model.labels), list(counts), 0, 1, pairs=pairs, counts=counts, notes=notes)


def _labelled_probabilities(
    model: CellModel, dataset: "Dataset", batch_size: int | None
) -> tuple[dict[str, np.ndarray], np.ndarray, list[str]]:
    """Returns each classifier's probabilities (n, n_labels) and the labels (n,) of the readable labelled images.

    The third value is a note per unreadable image.
    """
    from datasets import Image

    cells = dataset.cast_column("image", Image(decode=False)).filter(
        lambda label: label is not None, input_columns="label"
    )
    profile = model.profile(cells.select(sample_evenly(len(cells)))["image"])  # of all classes, which may be sorted
    images = (cell["image"] for cell in cells)
    inspected = inspect_cells(model, images, Parts.PROBABILITIES, batch_size=batch_size, profile=profile)
    observed, labels, unreadable = [], [], []
    with tqdm(total=len(cells), desc=dataset[0]["domain"], unit="image") as progress:
        for label, file, cell in zip(cells["label"], cells["file"], inspected, strict=True):
            if cell.observed is not None:
                observed.append(cell.observed.probabilities)
                labels.append(label)
            else:
                unreadable.append(f"Unreadable, skipped: {file}: {cell.error}")
            progress.update()
    if not labels:
        raise DataError(f"{dataset[0]['domain']} has no readable labelled image to evaluate on. Label some images.")
    probabilities = {name: np.stack([of_cell[name] for of_cell in observed]) for name in model.classifiers}
    for rows in probabilities.values():
        require_finite(rows)
    return probabilities, np.array(labels), unreadable
