"""How a finished model does on labelled cells that it is given."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bc_sam.data.cells import require_labels
from bc_sam.errors import DataError
from bc_sam.evaluation.metrics import score
from bc_sam.evaluation.results import ALL, Evaluation, PairResult
from bc_sam.models.bc_sam import BCSam

if TYPE_CHECKING:
    from datasets import Dataset


def evaluate_model(model: BCSam, datasets: Sequence["Dataset"], *, batch_size: int | None = None) -> Evaluation:
    """Tests every classifier of a model on labelled data sets; images that cannot be read are noted.

    Args:
        model: The model, as it is. Whether it learned from these very cells is for the caller to know.
        datasets: As the loaders of `bc_sam.data` return them.
        batch_size: Images a step; by default what suits the device.

    Raises:
        DataError: If a data set has no labelled image that can be read, or is of other cells than the model.
    """
    pairs: list[PairResult] = []
    counts: dict[str, dict[str, int]] = {}
    notes: list[str] = []
    for dataset in datasets:
        require_labels(dataset, model.labels)
        domain = dataset[0]["domain"]
        latents, labels, unreadable = _labelled_latents(model, dataset, batch_size)
        notes += unreadable
        names, numbers = np.unique(labels, return_counts=True)
        counts[domain] = {model.labels[i]: int(n) for i, n in zip(names, numbers, strict=True)}
        for name, classifier in model.classifiers.items():
            if len(classifier.allowed_labels) < len(classifier.classes):
                chosen = ", ".join(model.labels[label] for label in classifier.allowed_labels)
                notes.append(f"{name} chose among {chosen} only.")
            identity = {"classifier": name, "source": ALL, "target": domain, "fold": 0, "n_train": 0}
            pairs.append(
                score(classifier.predict_proba(latents), labels, classifier.classes, model.labels, **identity)
            )
    return Evaluation("external", list(model.labels), list(counts), 0, 1, pairs=pairs, counts=counts, notes=notes)


def _labelled_latents(
    model: BCSam, dataset: "Dataset", batch_size: int | None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Latents and labels of the readable, labelled images of a data set, and the names of those left out."""
    from datasets import Image

    cells = dataset.cast_column("image", Image(decode=False)).filter(
        lambda label: label is not None, input_columns="label"
    )
    predictions = model.stream((cell["image"] for cell in cells), batch_size=batch_size)
    latents, labels, unreadable = [], [], []
    with tqdm(total=len(cells), desc=dataset[0]["domain"], unit="image") as progress:
        for label, file, prediction in zip(cells["label"], cells["file"], predictions, strict=True):
            if prediction.latent is not None:
                latents.append(prediction.latent)
                labels.append(label)
            else:
                unreadable.append(f"Could not be read and was left out: {file}: {prediction.error}")
            progress.update()
    if not labels:
        raise DataError(f"{dataset[0]['domain']} has no labelled image that can be read, so nothing can be measured.")
    return np.stack(latents), np.array(labels), unreadable
