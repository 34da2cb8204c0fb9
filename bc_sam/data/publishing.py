"""A data set as it goes to the Hub: parquet in two splits that share no slide and no copy, and a card."""

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Image
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tqdm import tqdm

from bc_sam.data.cells import FEATURES
from bc_sam.data.sources import write_shards
from bc_sam.data.splits import assign_folds, fingerprint
from bc_sam.data.store import without_folder
from bc_sam.errors import DataError, ImageError
from bc_sam.images import read_image, to_square
from bc_sam.labels import LABELS
from bc_sam.provenance import provenance_of
from bc_sam.tables import markdown_cell

logger = logging.getLogger(__name__)

#: The files of a data set's repository; a push removes older ones of these names.
DATASET_FILES = ("README.md", "data/*.parquet")

_SIZE = 224
_CHUNK = 64


def write_dataset_repository(
    dataset: Dataset, folder: Path, template: Path, *, n_folds: int = 5, seed: int = 1234
) -> dict[str, int]:
    """Writes the splits and the card of a data set into an empty folder. Hand masks are left out.

    One fold is the split ``test``, the others are ``train``: stratified by class, with the images of a slide, and
    copies of an image, on one side. Memory does not grow with the number of images.

    Args:
        dataset: As a loader of `bc_sam.data` returns it.
        folder: New or empty folder.
        template: Markdown with Jinja fields, see the cards in ``hub/``.
        n_folds: Parts, of which one is the test split.
        seed: Seed of the split.

    Returns:
        Images of each split.

    Raises:
        DataError: If the folder is not empty, or no image can be read.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty. Give a new folder.")
    kept, fingerprints, unreadable = _look_at_images(dataset)
    if not kept:
        raise DataError(f"Not one image can be read; the first: {unreadable[0] if unreadable else 'there is none'}.")
    readable = dataset.select(kept)
    folds = assign_folds(readable["label"][:], readable["group"][:], fingerprints, n_folds, seed)
    bare = readable.remove_columns("mask").add_column("mask", [None] * len(kept), feature=FEATURES["mask"])
    bare = bare.select_columns(list(FEATURES))
    (folder / "data").mkdir(parents=True)
    splits = {"train": np.flatnonzero(folds != 0), "test": np.flatnonzero(folds == 0)}
    for split, rows in splits.items():
        write_shards(bare.select(rows), folder / "data", split)
    card = _render_card(template, dataset, readable, splits, unreadable, n_folds=n_folds, seed=seed)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return {split: len(rows) for split, rows in splits.items()}


def _look_at_images(dataset: Dataset) -> tuple[list[int], list[str], list[str]]:
    """Rows that can be read, the fingerprint of each, and what is wrong with the others."""
    kept: list[int] = []
    fingerprints: list[str] = []
    unreadable: list[str] = []
    undecoded = dataset.cast_column("image", Image(decode=False)).select_columns(["image", "file"])
    with ThreadPoolExecutor() as pool, tqdm(total=len(dataset), desc="Reading images", unit="image") as progress:
        for chunk in undecoded.iter(batch_size=_CHUNK):
            for image, file, seen in zip(
                chunk["image"], chunk["file"], pool.map(_fingerprint, chunk["image"]), strict=True
            ):
                row = len(kept) + len(unreadable)
                if isinstance(seen, ImageError):
                    unreadable.append(without_folder(seen, image["path"], file))
                    logger.warning("Left out: %s", seen)
                else:
                    kept.append(row)
                    fingerprints.append(seen)
                progress.update()
    return kept, fingerprints, unreadable


def _fingerprint(image: dict[str, Any]) -> str | ImageError:
    try:
        return fingerprint(to_square(read_image(image), _SIZE))
    except ImageError as error:
        return error


def _render_card(
    template: Path,
    dataset: Dataset,
    readable: Dataset,
    splits: Mapping[str, np.ndarray],
    unreadable: Iterable[str],
    **numbers: int,
) -> str:
    labels = np.array([-1 if label is None else label for label in readable["label"][:]])
    classes = [
        {"name": name, **{split: int((labels[rows] == index).sum()) for split, rows in splits.items()}}
        for index, name in enumerate(LABELS)
    ]
    environment = Environment(
        loader=FileSystemLoader(template.parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = markdown_cell
    return environment.get_template(template.name).render(
        provenance=provenance_of(dataset),
        classes=[entry for entry in classes if entry["train"] or entry["test"]],
        sizes={split: len(rows) for split, rows in splits.items()},
        left_out=dataset.info.description,
        unreadable=list(unreadable),
        **numbers,
    )
