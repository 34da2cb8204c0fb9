"""What classifiers learn from beside the cells: these as other laboratories would show them, and rendered ones.

Latents of one or two laboratories lie where these laboratories' light and stain have put them, and a classifier that
has seen no others draws its borders between laboratories as readily as between cells.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from bc_sam.config import ClassifierArguments, ViewArguments
from bc_sam.data.rendered import ANYWHERE, load_rendered
from bc_sam.data.store import CellStore, store_cells
from bc_sam.features import default_batch_size, encode_pixels
from bc_sam.training.augmentation import STRONG_DRAWS, strong_views, view_draws

if TYPE_CHECKING:
    from bc_sam.model import BCSam


@dataclass(frozen=True)
class Companions:
    """Latents of what no laboratory has photographed.

    Attributes:
        latents: (m, d) float32.
        labels: (m,) label index, -1 where it is not known.
        cells: (m,) row of the cell that each is a view of, -1 of a rendered one.
    """

    latents: np.ndarray
    labels: np.ndarray
    cells: np.ndarray

    def beside(self, rows: np.ndarray, *, rendered: bool) -> tuple[np.ndarray, np.ndarray]:
        """Returns latents and labels of the views of some cells, and of the rendered ones if they are wanted.

        Example:
            >>> some = Companions(np.zeros((3, 2)), np.array([4, 5, 6]), np.array([0, 1, -1]))
            >>> some.beside(np.array([1]), rendered=True)[1].tolist()
            [5, 6]
        """
        wanted = np.isin(self.cells, rows) | (rendered & (self.cells < 0))
        return self.latents[wanted], self.labels[wanted]


def embed_companions(
    model: "BCSam", cells: CellStore, rows: np.ndarray, arguments: ClassifierArguments, seed: int, folder: Path
) -> Companions | None:
    """Computes the latents of companions.

    Args:
        model: The model of stages 1 and 2.
        cells: The images.
        rows: Cells to be viewed: those from which the classifiers may learn.
        arguments: How many.
        seed: Seed of the views and of the rendered cells.
        folder: Where the rendered cells go.

    Returns:
        They, or ``None`` where none are asked for.
    """
    rows = rows[cells.labels[rows] >= 0]
    parts = [_views(model, cells, rows, seed, number) for number in range(arguments.views)]
    if arguments.rendered:
        # The seed itself is that of the rendered cells from which an encoder may have learned.
        parts.append(_rendered(model, arguments.rendered, seed + 1, folder))
    return Companions(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))) if parts else None


Part = tuple[np.ndarray, np.ndarray, np.ndarray]


def _views(model: "BCSam", cells: CellStore, rows: np.ndarray, seed: int, number: int) -> Part:
    """Latents, labels and cells of one view of each cell."""

    def changed(some: np.ndarray) -> np.ndarray:
        images = torch.tensor(cells.pixels[some]).permute(0, 3, 1, 2).float()
        draws = view_draws(seed, number, some.tolist(), STRONG_DRAWS)
        views, _ = strong_views(images, torch.zeros_like(images[:, 0]), draws, cells.image_size, ViewArguments())
        return views.round().byte().permute(0, 2, 3, 1).numpy()

    latents = _embed(model, changed, rows, f"Views ({number + 1})")
    return latents, cells.labels[rows], rows


def _rendered(model: "BCSam", n: int, seed: int, folder: Path) -> Part:
    """Latents, labels and "cells" of rendered cells."""
    drawn = load_rendered(ANYWHERE, cells_per_class=n, seed=seed, size=model.config.image_size, labels=model.labels)
    store = store_cells([drawn], folder, model.config.image_size)
    latents = _embed(model, lambda some: store.pixels[some], np.arange(len(store)), "Rendered cells")
    return latents, store.labels, np.full(len(store), -1)


@torch.inference_mode()
def _embed(model: "BCSam", look: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, description: str) -> np.ndarray:
    """Returns the latents (n, d) float32 of the images that `look` returns of some rows."""
    latents, step = [], default_batch_size(model.device)
    for start in tqdm(range(0, len(rows), step), desc=description, unit="batch"):
        maps = encode_pixels(model.sam, model.config, look(rows[start : start + step]))
        latents.append(model.autoencoder.encode(maps.float()).cpu().numpy())
    return np.concatenate(latents)
