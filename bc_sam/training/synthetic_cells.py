"""What classifiers learn from beside the real cells: rendered ones, each of a laboratory of its own.

Latents of one or two laboratories lie where these laboratories' light and stain have put them. A classifier that has
seen no others calls a strange laboratory's cells by whatever name is farthest out.
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


class Companions(NamedTuple):
    """Latents of rendered cells.

    Attributes:
        latents: (m, d) float32.
        labels: (m,) label index.
    """

    latents: np.ndarray
    labels: np.ndarray


def embed_companions(model: "BCSam", cells_per_class: int, seed: int, folder: Path) -> Companions:
    """Renders cells of every class of a model, and computes their latents.

    Args:
        model: The model of stages 1 and 2.
        cells_per_class: How many.
        seed: Seed of the cells.
        folder: Where they go.

    Raises:
        DataError: If the model's classes are not those that can be rendered.
    """
    size = model.config.image_size
    drawn = load_rendered(ANYWHERE, cells_per_class=cells_per_class, seed=seed, size=size, labels=model.labels)
    cells = store_cells([drawn], folder, size)
    latents: list[Any] = []
    step = default_batch_size(model.device)
    for start in tqdm(range(0, len(cells), step), desc="Rendered cells", unit="batch"):
        latents.append(model.observe(cells.pixels[start : start + step], Parts.EMBEDDINGS).embeddings)
    own = np.array([model.labels.index(name) for name in drawn.features["label"].names])
    return Companions(np.concatenate(latents), own[cells.labels])
