"""Synthetic data set of rendered blood cells with exact masks; needs no download.

The 13 classes follow the morphological descriptions of haematology, rendered with the stain and camera of several
laboratories, so that the domain shift between laboratories resembles that of the real data sets.
"""

import csv
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetInfo
from PIL import Image
from tqdm import tqdm

from bc_sam.config.labels import LABELS
from bc_sam.data.cells import FEATURES
from bc_sam.data.images import encode_png
from bc_sam.data.provenance import Provenance
from bc_sam.data.rendering.cell import check_label, check_size, render_cell
from bc_sam.data.rendering.laboratory import LABORATORIES, Laboratory, any_laboratory
from bc_sam.errors import ConfigError, DataError
from bc_sam.utils.atomic import folder_written_aside

RENDERED = Provenance(
    title="Rendered cells",
    licence="Apache-2.0",
    homepage="bc_sam.data.datasets.rendered",
    laboratory="none: rendered by bc_sam, without patient data",
    stain="simulated",
    microscope="simulated",
    image="224 x 224 px",
)

__all__ = ["ANYWHERE", "LABORATORIES", "SLIDES", "Laboratory", "load_rendered", "render_cell", "write_rendered"]

#: Number of slides per laboratory. Cell i of each class is on slide i modulo `SLIDES`.
SLIDES = 5

#: Laboratory name that renders every slide in a different random laboratory. Cell i of each class is on slide i.
ANYWHERE = "anywhere"


# The table that assigns masks to images.
_PAIRS = Path("masks", "pairs.csv")


def load_rendered(
    laboratory: str = "munich",
    *,
    cells_per_class: int = 20,
    seed: int = 0,
    size: int = 224,
    labels: Sequence[str] = LABELS,
) -> Dataset:
    """Renders a data set in memory, without disk access.

    A cell depends only on its label, its index, the laboratory's name, the seed and the size, not on the number of
    cells or the other classes.

    Args:
        laboratory: A name in `LABORATORIES`, or `ANYWHERE`; it becomes the domain.
        cells_per_class: Number of cells per label.
        seed: Non-negative seed of all cells and slides.
        size: Side of the images, pixels, at least 32.
        labels: Classes to render, in this order.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`, grouped by label. ``mask`` is the mask from
        `render_cell`, ``group`` is the slide, whose cells share a slight variation of stain and light, and ``file`` is
        a name such as ``basophil_0003.png``.

    Raises:
        DataError: If the laboratory or a label is unknown.
        ConfigError: If `cells_per_class`, `seed` or `size` is out of range.

    Example:
        >>> cells = load_rendered("barcelona", cells_per_class=2, labels=["basophil", "monocyte"])
        >>> cells["file"][:]
        ['basophil_0000.png', 'basophil_0001.png', 'monocyte_0000.png', 'monocyte_0001.png']
    """
    _check_request(laboratory, cells_per_class, seed, size, labels)
    info = DatasetInfo(features=FEATURES, license=RENDERED.licence, homepage=RENDERED.homepage)
    return Dataset.from_list(
        list(_rows(laboratory, cells_per_class, seed, size, labels)), features=FEATURES, info=info
    )


def write_rendered(
    folder: str | Path,
    laboratories: Sequence[str] = ("munich", "barcelona"),
    *,
    cells_per_class: int = 20,
    seed: int = 0,
    size: int = 224,
    labels: Sequence[str] = LABELS,
) -> Path:
    """Writes the cells of `load_rendered` as PNG files, with a CSV that assigns masks to images.

    Writes ``<laboratory>/<label>/<file>``, ``masks/<laboratory>/<file>`` and ``masks/pairs.csv``, whose columns
    ``image`` and ``mask`` are paths relative to `folder`. `load_folder` reads the folder of each laboratory.

    Args:
        folder: New or empty folder. It is created only when all files are complete.
        laboratories: Names in `LABORATORIES`, or `ANYWHERE`.
        cells_per_class: See `load_rendered`.
        seed: See `load_rendered`.
        size: See `load_rendered`.
        labels: See `load_rendered`.

    Returns:
        Path of ``pairs.csv``.

    Raises:
        DataError: If the folder is not empty, or a laboratory or label is unknown.
        ConfigError: If `cells_per_class`, `seed` or `size` is out of range.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder. Give a new folder, or remove it.")
    for laboratory in laboratories:
        _check_request(laboratory, cells_per_class, seed, size, labels)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder_written_aside(folder) as partial:
        pairs = []
        for laboratory in laboratories:
            for row in _rows(laboratory, cells_per_class, seed, size, labels):
                image = Path(laboratory, row["label"], row["file"])
                mask = Path("masks", laboratory, row["file"])
                for path, pixels in ((image, row["image"]), (mask, row["mask"])):
                    (partial / path).parent.mkdir(parents=True, exist_ok=True)
                    (partial / path).write_bytes(pixels["bytes"])
                pairs.append((image.as_posix(), mask.as_posix()))
        (partial / _PAIRS).parent.mkdir(exist_ok=True)
        with (partial / _PAIRS).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("image", "mask"), *pairs])
    return folder / _PAIRS


def _rows(
    laboratory: str, cells_per_class: int, seed: int, size: int, labels: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a data set, with a progress bar."""
    slides = _slides(laboratory, cells_per_class, seed)
    cells = [(label, index) for label in labels for index in range(cells_per_class)]
    for label, index in tqdm(cells, f"Rendering {laboratory}", unit="cell", disable=None):
        slide = index % len(slides)
        image, mask = render_cell(label, slides[slide], _generator(seed, laboratory, label, index), size)
        file = f"{label}_{index:04d}.png"
        yield {
            "image": {"bytes": encode_png(Image.fromarray(image)), "path": file},
            "label": label,
            "domain": laboratory,
            "mask": {"bytes": encode_png(Image.fromarray(mask)), "path": file},
            "group": f"{laboratory}_slide_{slide}",
            "file": file,
        }


def _slides(laboratory: str, cells_per_class: int, seed: int) -> list[Laboratory]:
    """Returns the laboratory of each slide."""
    if laboratory == ANYWHERE:
        return [any_laboratory(_generator(seed, laboratory, "slide", i)) for i in range(cells_per_class)]
    return [LABORATORIES[laboratory].slide(_generator(seed, laboratory, "slide", i)) for i in range(SLIDES)]


def _generator(seed: int, laboratory: str, kind: str, index: int) -> np.random.Generator:
    """Returns the deterministic generator of one cell or slide."""
    return np.random.default_rng([seed, zlib.crc32(f"{laboratory}/{kind}".encode()), index])


def _check_request(laboratory: str, cells_per_class: int, seed: int, size: int, labels: Sequence[str]) -> None:
    if laboratory not in (*LABORATORIES, ANYWHERE):
        names = ", ".join((*LABORATORIES, ANYWHERE))
        raise DataError(f"Unknown laboratory {laboratory!r}. Choose one of {names}.")
    for label in labels:
        check_label(label)
    check_size(size)
    if cells_per_class < 1:
        raise ConfigError(f"cells_per_class must be at least 1, but is {cells_per_class}.")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, but is {seed}.")
