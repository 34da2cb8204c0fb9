"""Repository of a data set for the Hub: parquet splits that share no slide or copy, and a data set card."""

import logging
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Image
from jinja2 import FileSystemLoader, Template
from tqdm import tqdm

from bc_sam.config.labels import LABELS
from bc_sam.data.cells import FEATURES
from bc_sam.data.decoding_budget import memory_for
from bc_sam.data.images import MAX_PIXELS, read_pixels, to_square
from bc_sam.data.sources import provenance_of, write_shards
from bc_sam.data.splits import assign_folds, fingerprint
from bc_sam.data.store import without_folder
from bc_sam.errors import DataError, ImageError
from bc_sam.utils.templates import markdown_templates

logger = logging.getLogger(__name__)

#: Files of a data set repository. A push deletes older files that match these patterns.
DATASET_FILES = ("README.md", "data/*.parquet")

_SIZE = 224
_CHUNK = 64


def write_dataset_repository(
    dataset: Dataset,
    folder: Path,
    template: Path,
    *,
    repo_id: str,
    codes: Mapping[str, str | None],
    n_folds: int = 5,
    seed: int = 1234,
) -> dict[str, int]:
    """Writes the splits and the card of a data set into an empty folder. Annotated masks are omitted.

    One fold is the split ``test``, the others are ``train``, stratified by class; images of one slide and copies of
    one image are in the same split. Memory does not grow with the number of images.

    Args:
        dataset: Data set from a loader of `bc_sam.data`.
        folder: New or empty folder.
        template: Jinja template of the card; see the cards in ``hub/``.
        repo_id: Hub id of the repository, shown in the card.
        codes: Canonical class of each code of the archive, such as `bc_sam.data.datasets.matek.MATEK19_CODES`.
        n_folds: Number of folds, of which one is the test split.
        seed: Seed of the split.

    Returns:
        Number of images per split.

    Raises:
        DataError: If the folder is not empty, no image can be read, or there are too few independent images to split.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty. Give a new or empty folder.")
    kept, fingerprints, unreadable = _fingerprint_images(dataset)
    if not kept:
        raise DataError(
            f"No image can be read. First error: {unreadable[0] if unreadable else 'the data set is empty'}"
        )
    readable = dataset.select(kept)
    folds = assign_folds(readable["label"][:], readable["group"][:], fingerprints, n_folds, seed)
    published = readable.remove_columns("mask").add_column("mask", [None] * len(kept), feature=FEATURES["mask"])
    published = published.select_columns(list(FEATURES))
    (folder / "data").mkdir(parents=True)
    splits = {"train": np.flatnonzero(folds != 0), "test": np.flatnonzero(folds == 0)}
    for split, rows in splits.items():
        write_shards(published.select(rows), folder / "data", split)
    sizes = {split: len(rows) for split, rows in splits.items()}
    card = _template(template).render(
        repo_id=repo_id,
        provenance=provenance_of(dataset),
        classes=list(_classes(readable["label"][:], splits, codes)),
        sizes=sizes,
        size_category=_size_category(len(kept)),
        left_out=dataset.info.description,
        unreadable=unreadable,
        n_folds=n_folds,
        seed=seed,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return sizes


def _fingerprint_images(dataset: Dataset) -> tuple[list[int], list[str], list[str]]:
    """Returns the indices of the readable rows, their fingerprints, and the errors of the other rows."""
    kept: list[int] = []
    fingerprints: list[str] = []
    unreadable: list[str] = []
    undecoded = dataset.cast_column("image", Image(decode=False)).select_columns(["image", "file"])
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(dataset), desc="Reading images", unit="image", disable=None) as progress,
    ):
        for chunk in undecoded.iter(batch_size=_CHUNK):
            for image, file, result in zip(
                chunk["image"], chunk["file"], pool.map(_fingerprint, chunk["image"]), strict=True
            ):
                row = len(kept) + len(unreadable)
                if isinstance(result, ImageError):
                    unreadable.append(without_folder(result, image["path"], file))
                    logger.warning("Skipped: %s", result)
                else:
                    kept.append(row)
                    fingerprints.append(result)
                progress.update()
    return kept, fingerprints, unreadable


def _fingerprint(image: dict[str, Any]) -> str | ImageError:
    try:
        with memory_for(image, max_pixels=MAX_PIXELS):
            return fingerprint(to_square(read_pixels(image), _SIZE))
    except ImageError as error:
        return error


def _classes(
    labels: Sequence[int | None], splits: Mapping[str, np.ndarray], codes: Mapping[str, str | None]
) -> Iterator[dict[str, Any]]:
    """Yields the name, the codes and the images per split of every class that occurs."""
    indices = np.array([-1 if label is None else label for label in labels])
    for index, name in enumerate(LABELS):
        counts = {split: int((indices[rows] == index).sum()) for split, rows in splits.items()}
        if any(counts.values()):
            yield {"name": name, "codes": [code for code, label in codes.items() if label == name], **counts}


def _size_category(n_images: int) -> str:
    """Returns the ``size_categories`` tag of the Hub."""
    bounds, names = (1_000, 10_000, 100_000), ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M")
    return names[bisect_right(bounds, n_images)]


def _template(path: Path) -> Template:
    return markdown_templates(FileSystemLoader(path.parent)).get_template(path.name)
