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
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from bc_sam.config.labels import LABELS
from bc_sam.data.cells import FEATURES
from bc_sam.data.images import encode_png
from bc_sam.data.provenance import Provenance
from bc_sam.data.rendering.cell_types import CELL_TYPES
from bc_sam.data.rendering.laboratory import LABORATORIES, Laboratory, any_laboratory
from bc_sam.data.rendering.shapes import Frame
from bc_sam.data.rendering.smear import draw_smear
from bc_sam.data.rendering.white_cell import draw_white_cell
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


def render_cell(
    label: str, laboratory: Laboratory, rng: np.random.Generator, size: int = 224
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Renders one cell as imaged by a laboratory.

    Args:
        label: One of `bc_sam.config.labels.LABELS`.
        laboratory: Stain, microscope and camera, such as ``LABORATORIES["munich"]``.
        rng: Random generator. Equal states give equal pixels.
        size: Side of the image, pixels. The field of view does not depend on it.

    Returns:
        The image, uint8 (size, size, 3), RGB; and its mask, uint8 (size, size): 0 background, 1 cytoplasm, 2 nucleus.

    Raises:
        DataError: If the label is unknown.
        ConfigError: If `size` is below 32 pixels.

    Example:
        >>> import numpy as np
        >>> image, mask = render_cell("monocyte", LABORATORIES["munich"], np.random.default_rng(0))
        >>> image.shape, mask.max()
        ((224, 224, 3), np.uint8(2))
    """
    _check_label(label)
    _check_size(size)
    frame = Frame(size, laboratory.width)
    # Separate generators, so that the draws of one part do not affect the others.
    cell_rng, smear_rng, camera_rng = (np.random.default_rng(rng.integers(2**63)) for _ in range(3))
    cell = draw_white_cell(CELL_TYPES[label], frame, cell_rng)
    smear = draw_smear(cell, laboratory.crowding, frame, smear_rng)
    return laboratory.photograph(smear, frame, camera_rng), cell.mask


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
        _check_label(label)
    _check_size(size)
    if cells_per_class < 1:
        raise ConfigError(f"cells_per_class must be at least 1, but is {cells_per_class}.")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, but is {seed}.")


def _check_label(label: str) -> None:
    if label not in CELL_TYPES:
        raise DataError(f"Unknown label {label!r}. Choose one of {', '.join(LABELS)}.")


def _check_size(size: int) -> None:
    if size < 32:
        raise ConfigError(f"size must be at least 32 pixels, but is {size}.")
