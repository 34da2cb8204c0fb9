"""Embeddings of labelled cells, on which classifiers are fitted and evaluated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from tqdm import tqdm

from bc_sam.config.labels import LABELS
from bc_sam.data.cells import require_labels
from bc_sam.data.preparation import sample_evenly
from bc_sam.errors import DataError
from bc_sam.models.base import CellModel
from bc_sam.models.inspection import inspect_cells
from bc_sam.models.observation import Parts
from bc_sam.utils.atomic import load_array

if TYPE_CHECKING:
    from datasets import Dataset

#: Laboratories of the original's arrays, by their number in ``dataset.npy``.
ORIGINAL_LABORATORIES = ("matek19", "acevedo20")


@dataclass(frozen=True)
class LabelledEmbeddings:
    """Embeddings of labelled cells.

    Attributes:
        embeddings: (n, latent_dim) float32.
        labels: (n,) int64, label indices.
        laboratories: (n,) str, the laboratory of each cell.
        unreadable: A note for each image that could not be read.
        probabilities: Each classifier's probabilities (n, n_labels) float32, if they were asked for.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    laboratories: np.ndarray
    unreadable: tuple[str, ...] = ()
    probabilities: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of_dataset(
        cls, model: CellModel, dataset: "Dataset", *, batch_size: int | None = None, probabilities: bool = False
    ) -> Self:
        """Embeds the labelled cells of a data set. Unreadable images are skipped and noted.

        Args:
            model: The model.
            dataset: A data set as returned by the loaders of `bc_sam.data`.
            batch_size: Images per batch; by default chosen for the device.
            probabilities: Whether to apply the model's classifiers, too.

        Raises:
            DataError: If it has other classes than the model, or no labelled image that can be read.
        """
        from datasets import Image

        require_labels(dataset, model.labels)
        laboratory = dataset[0]["domain"]
        cells = dataset.cast_column("image", Image(decode=False)).filter(
            lambda label: label is not None, input_columns="label"
        )
        profile = model.profile(cells.select(sample_evenly(len(cells)))["image"])  # of all classes, maybe sorted
        images = (cell["image"] for cell in cells)
        parts = Parts.EMBEDDINGS | Parts.PROBABILITIES if probabilities else Parts.EMBEDDINGS
        inspected = inspect_cells(model, images, parts, batch_size=batch_size, profile=profile)
        embeddings, applied, labels, unreadable = [], [], [], []
        with tqdm(total=len(cells), desc=laboratory, unit="image", disable=None) as progress:
            for label, file, cell in zip(cells["label"], cells["file"], inspected, strict=True):
                if cell.observed is not None and cell.observed.embedding is not None:
                    embeddings.append(cell.observed.embedding)
                    applied.append(cell.observed.probabilities)
                    labels.append(label)
                else:
                    unreadable.append(f"Unreadable, skipped: {file}: {cell.error}")
                progress.update()
        if not labels:
            raise DataError(f"{laboratory} has no labelled image that can be read. Label some images.")
        return cls(
            np.stack(embeddings),
            np.array(labels),
            np.full(len(labels), laboratory),
            tuple(unreadable),
            {name: np.stack([of_cell[name] for of_cell in applied]) for name in applied[0]},
        )

    @classmethod
    def of_original(cls, folder: str | Path) -> Self:
        """Reads ``X.npy``, ``y.npy`` and ``dataset.npy``, which the original's ``train.py`` writes.

        The original numbers the classes in the order of `LABELS`, and Matek-19 and Acevedo-20 as 0 and 1.

        Args:
            folder: The folder of the three files.

        Raises:
            BCSamError: If a file is missing or damaged, or would have to be unpickled.
            DataError: If the arrays do not belong together.
        """
        folder = Path(folder)
        remedy = "Give the folder of X.npy, y.npy and dataset.npy, which the original's train.py writes."
        embeddings, labels, numbers = (load_array(folder / f"{name}.npy", remedy) for name in ("X", "y", "dataset"))
        if embeddings.ndim != 2 or labels.shape != (len(embeddings),) or numbers.shape != labels.shape:
            raise DataError(
                f"The arrays in {folder} do not belong together: X.npy has the shape {embeddings.shape}, y.npy "
                f"{labels.shape} and dataset.npy {numbers.shape}. {remedy}"
            )
        for name, values, limit in (("y", labels, len(LABELS)), ("dataset", numbers, len(ORIGINAL_LABORATORIES))):
            if not (np.issubdtype(values.dtype, np.integer) and np.isin(values, range(limit)).all()):
                raise DataError(f"{folder / name}.npy must hold integers from 0 to {limit - 1}. {remedy}")
        laboratories = np.array(ORIGINAL_LABORATORIES)[numbers]
        return cls(embeddings.astype(np.float32), labels.astype(np.int64), laboratories)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Joins the cells of several sources, without probabilities."""
        return cls(
            np.concatenate([part.embeddings for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.laboratories for part in parts]),
            tuple(note for part in parts for note in part.unreadable),
        )
