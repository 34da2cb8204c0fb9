"""Images that a data set holds twice, exactly or nearly, and images that cannot be read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset, Image
from tqdm import tqdm

from bc_sam.data.decoding_budget import memory_for
from bc_sam.data.image_quality import find_near_duplicates, measure_quality
from bc_sam.data.images import MAX_PIXELS, read_pixels, to_square
from bc_sam.data.preparation import map_in_threads
from bc_sam.data.splits import find_copies, fingerprint, independent_units
from bc_sam.errors import ImageError
from bc_sam.utils.display import printable

# Side of the squares that are compared, pixels, and how many of them are in memory at a time.
_SIDE = 224
_CHUNK = 128


@dataclass(frozen=True)
class ImageCheck:
    """What is wrong with the images of a data set, in words.

    Attributes:
        unreadable: Images that cannot be read, with the reason.
        copies: Pairs of copies: the same image, perhaps flipped, rotated or lightly recompressed.
        contradicting: Those pairs of copies that have different labels, with the labels.
        alike: Pairs of images that are nearly the same, such as a copy in other colours, shifted or enlarged.
    """

    unreadable: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    contradicting: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()


def check_images(dataset: Dataset) -> ImageCheck:
    """Reads every image of a data set, about 20 ms each on one core, and compares it with all others.

    Args:
        dataset: Data set with the columns `bc_sam.data.cells.FEATURES`.

    Example:
        >>> from bc_sam.data import load_rendered
        >>> check_images(load_rendered("munich", cells_per_class=1)).copies
        ()
    """
    sources = dataset.select_columns(["image"]).cast_column("image", Image(decode=False))
    files = [file or f"row {row}" for row, file in enumerate(dataset["file"])]
    kept: list[int] = []
    unreadable, fingerprints, thumbnails = [], [], []
    with tqdm(total=len(dataset), desc="Comparing images", unit="image", disable=None) as bar:
        for start in range(0, len(dataset), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(dataset)))
            squares = map_in_threads(_square, (sources[row]["image"] for row in rows))
            readable = [square for square in squares if not isinstance(square, ImageError)]
            unreadable += [printable(str(square)) for square in squares if isinstance(square, ImageError)]
            kept += [row for row, square in zip(rows, squares, strict=True) if not isinstance(square, ImageError)]
            fingerprints += map_in_threads(fingerprint, readable)
            if readable:
                thumbnails.append(measure_quality(np.stack(readable), quiet=True).thumbnails)
            bar.update(len(rows))
    if not kept:
        return ImageCheck(tuple(unreadable))
    names, groups = dataset.features["label"].names, dataset["group"]
    units = independent_units([groups[row] for row in kept], fingerprints)
    copies = _sorted(find_copies(fingerprints))
    alike = find_near_duplicates(np.concatenate(thumbnails), units)
    all_labels = dataset["label"]
    labels = [all_labels[row] for row in kept]
    named = [
        files[row] if label is None else f"{files[row]} ({names[label]})"
        for row, label in zip(kept, labels, strict=True)
    ]
    return ImageCheck(
        tuple(unreadable),
        _described(copies, named),
        _described(contradicting_pairs(copies, labels), named),
        _described(alike, named),
    )


def contradicting_pairs(pairs: Iterable[Sequence[int]], labels: Sequence[int | None]) -> list[tuple[int, int]]:
    """Returns the pairs of images that have different labels, in order; images without one contradict none.

    Args:
        pairs: Pairs of indices, such as (m, 2) of `bc_sam.data.splits.find_copies`.
        labels: Label index of each image; ``None`` or -1 for none.

    Example:
        >>> contradicting_pairs([(0, 1), (2, 0), (0, 3)], [4, 4, 5, None])
        [(0, 2)]
    """
    known = [-1 if label is None else label for label in labels]
    return [(a, b) for a, b in _sorted(pairs) if min(known[a], known[b]) >= 0 and known[a] != known[b]]


def _square(source: Any) -> np.ndarray | ImageError:
    try:
        with memory_for(source, max_pixels=MAX_PIXELS):
            return to_square(read_pixels(source), _SIDE)
    except ImageError as error:
        return error


def _sorted(pairs: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    return sorted((int(min(pair)), int(max(pair))) for pair in pairs)


def _described(pairs: Iterable[tuple[int, int]], named: Sequence[str]) -> tuple[str, ...]:
    return tuple(printable(f"{named[one]} and {named[other]}") for one, other in pairs)
