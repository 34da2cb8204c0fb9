"""Evaluates a trained model on labelled cells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bc_sam.classifiers.fitting import require_finite
from bc_sam.evaluation.merging import merged_labels
from bc_sam.evaluation.metrics import score
from bc_sam.evaluation.results import ALL, Evaluation, PairResult
from bc_sam.models.base import CellModel
from bc_sam.models.labelled_embeddings import LabelledEmbeddings

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
        ConfigError: If the model has no classifiers.
        DataError: If a data set has no labelled image that can be read, or has other classes than the model.
    """
    model.require_classifiers()
    pairs: list[PairResult] = []
    counts: dict[str, dict[str, int]] = {}
    notes: list[str] = []
    for dataset in datasets:
        domain = dataset[0]["domain"]
        cells = LabelledEmbeddings.of_dataset(model, dataset, batch_size=batch_size, probabilities=True)
        labels = cells.labels
        notes += cells.unreadable
        present, numbers = np.unique(labels, return_counts=True)
        counts[domain] = {model.labels[i]: int(n) for i, n in zip(present, numbers, strict=True)}
        for name, classifier in model.classifiers.items():
            if len(classifier.allowed_labels) < len(classifier.classes):
                allowed = ", ".join(model.labels[label] for label in classifier.allowed_labels)
                notes.append(f"{name} was restricted to the labels {allowed}.")
            identity = {"classifier": name, "source": ALL, "target": domain, "fold": 0, "n_train": 0}
            merged = merged_labels(classifier.classes, labels, model.labels)
            probabilities = cells.probabilities[name]
            require_finite(probabilities)
            pairs.append(score(probabilities, labels, classifier.classes, model.labels, merged=merged, **identity))
    return Evaluation("external", list(model.labels), list(counts), 0, 1, pairs=pairs, counts=counts, notes=notes)
