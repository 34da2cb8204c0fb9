"""Synthetic training cells for the classifiers, each rendered in the style of a random laboratory.

Illumination and stain of a laboratory shift its embeddings. A classifier trained on only one or two laboratories
extrapolates badly to another one.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from bc_sam.data.datasets.rendered import ANYWHERE, load_rendered
from bc_sam.data.store import store_cells
from bc_sam.models.observation import Parts
from bc_sam.networks.features import default_batch_size

if TYPE_CHECKING:
    from bc_sam.models.bc_sam import BCSam


class SyntheticCells(NamedTuple):
    """Embeddings of rendered cells.

    Attributes:
        latents: (m, d) float32.
        labels: (m,) label indices.
    """

    latents: np.ndarray
    labels: np.ndarray


def embed_synthetic_cells(model: "BCSam", cells_per_class: int, seed: int, folder: Path) -> SyntheticCells:
    """Renders cells of every class of a model and embeds them.

    Args:
        model: The model after stages 1 and 2.
        cells_per_class: Cells to render per class.
        seed: Seed of the rendering.
        folder: Folder to store the cells in.

    Raises:
        DataError: If a class of the model cannot be rendered.
    """
    size, normalization = model.config.image_size, model.config.normalization
    resolution = {"size": size} if normalization is None else {}  # else that of a camera, which is resampled
    drawn = load_rendered(ANYWHERE, cells_per_class=cells_per_class, seed=seed, labels=model.labels, **resolution)
    cells = store_cells([drawn], folder, size, normalization)
    latents: list[Any] = []
    step = default_batch_size(model.device)
    for start in tqdm(range(0, len(cells), step), desc="Rendered cells", unit="batch", disable=None):
        latents.append(model.observe(cells.pixels[start : start + step], Parts.EMBEDDINGS).embeddings)
    own = np.array([model.labels.index(name) for name in drawn.features["label"].names])
    return SyntheticCells(np.concatenate(latents), own[cells.labels])
