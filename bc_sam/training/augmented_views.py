"""Augmented views of the training cells, stored like cells: what other laboratories might have made of them."""

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from tqdm import tqdm

from bc_sam.config.arguments import TrainingArguments
from bc_sam.data.store import CellStore, CellTable, digest_of, holds_cells
from bc_sam.training.engine.sampling import tempered
from bc_sam.training.steps.augmentation import STRONG_DRAWS, strong_views, view_draws
from bc_sam.utils.memmap import create_array

_BLOCK = 64


@dataclass(frozen=True)
class AugmentedViews:
    """Views of labelled cells.

    Attributes:
        cells: The views; their labels and domains are those of their cells.
        rows: (m,) the cell of each view.
    """

    cells: CellStore
    rows: np.ndarray


def store_views(cells: CellStore, rows: np.ndarray, training: TrainingArguments, folder: Path) -> AugmentedViews:
    """Stores `training.views` views of labelled cells, or opens them if they are already stored.

    The views are drawn evenly over the classes of each laboratory, so that views of a rare class are many views of few
    cells.

    Args:
        cells: All cells.
        rows: Cells to draw from; those without a label are skipped.
        training: Number and strength of the views, and the seed.
        folder: Folder to store them in.
    """
    rows = rows[cells.labels[rows] >= 0]
    drawn = _draw(cells, rows, training.views, training.seed)
    key = crc32(repr((cells.content_key, training.view, training.seed)).encode(), crc32(drawn.tobytes()))
    if not holds_cells(folder, key):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.json").unlink(missing_ok=True)
        digests = _write_pixels(cells, drawn, training, folder)
        _table(cells, drawn, digests, key).save(folder / "table.json")
    return AugmentedViews(CellStore.open(folder), drawn)


def _draw(cells: CellStore, rows: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draws n of the rows, with repetition, evenly over the classes of each domain."""
    strata = cells.domains[rows] * (cells.labels.max() + 1) + cells.labels[rows]
    order, rng = tempered(strata, 1.0), np.random.default_rng(seed)
    epochs = [order(rng) for _ in range(-(-n // max(1, len(rows) // 2)))]
    return rows[np.concatenate(epochs)[:n]]


def _write_pixels(cells: CellStore, drawn: np.ndarray, training: TrainingArguments, folder: Path) -> list[int]:
    """Writes the views and returns their digests."""
    size = cells.image_size
    pixels = create_array(folder / "pixels.npy", np.uint8, (len(drawn), size, size, 3))
    create_array(folder / "masks.npy", np.uint8, (len(drawn), size, size)).sync()
    digests: list[int] = []
    for start in tqdm(range(0, len(drawn), _BLOCK), desc="Augmented views", unit="batch", disable=None):
        block = drawn[start : start + _BLOCK]
        images = torch.tensor(cells.pixels[block]).permute(0, 3, 1, 2).float()
        draws = view_draws(training.seed, 0, range(start, start + len(block)), STRONG_DRAWS)
        views, _ = strong_views(images, torch.zeros_like(images[:, 0]), draws, size, training.view)
        stored = views.round().byte().permute(0, 2, 3, 1).numpy()
        pixels.write(start, stored)
        digests += [digest_of(view) for view in stored]
    pixels.sync()  # before the table marks them as complete
    return digests


def _table(cells: CellStore, drawn: np.ndarray, digests: list[int], key: int) -> CellTable:
    table = cells.table
    return CellTable(
        key=key,
        domain_names=table.domain_names,
        domains=cells.domains[drawn].tolist(),
        labels=cells.labels[drawn].tolist(),
        groups=[table.groups[row] for row in drawn],
        files=[table.files[row] for row in drawn],
        fingerprints=[table.fingerprints[row] for row in drawn],
        digests=digests,
        has_mask=[False] * len(drawn),
        sizes=[table.sizes[row] for row in drawn],
        unreadable=[],
    )
