"""A data set that needs no download: blood cells that the package draws itself, with exact masks.

The 13 classes look as a haematologist describes them, and as several laboratories would show them, so that cells of
one laboratory and of another are as alike in kind and as unlike in colour as in the real data sets.
"""

import csv
import io
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
from bc_sam.data.provenance import Provenance
from bc_sam.data.rendering.cell_types import CELL_TYPES
from bc_sam.data.rendering.laboratory import LABORATORIES, Laboratory, any_laboratory
from bc_sam.data.rendering.shapes import Frame
from bc_sam.data.rendering.smear import draw_smear
from bc_sam.data.rendering.white_cell import draw_white_cell
from bc_sam.errors import ConfigError, DataError

RENDERED = Provenance(
    title="Rendered cells",
    licence="Apache-2.0",
    homepage="bc_sam.data.datasets.rendered",
    laboratory="none: bc_sam draws them, no patient is in them",
    stain="imitated",
    microscope="imitated",
    image="224 x 224 px",
)


__all__ = ["ANYWHERE", "LABORATORIES", "SLIDES", "Laboratory", "load_rendered", "render_cell", "write_rendered"]

#: Slides that each laboratory's cells lie on. Cell number i of each class lies on slide i modulo SLIDES.
SLIDES = 5

#: In the place of a laboratory's name: every slide is of another laboratory, and cell number i of each class lies on
#: slide i.
ANYWHERE = "anywhere"


def render_cell(
    label: str, laboratory: Laboratory, rng: np.random.Generator, size: int = 224
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws one cell as a laboratory sees it.

    Args:
        label: One of `bc_sam.config.labels.LABELS`.
        laboratory: Stain, microscope and camera, such as ``LABORATORIES["munich"]``.
        rng: Source of everything that varies. Equal states give equal pixels.
        size: Side of the image, pixels. The field of view stays the same.

    Returns:
        The image, uint8 (size, size, 3), red, green, blue; and its mask, uint8 (size, size): 0 background,
        1 cytoplasm, 2 nucleus.

    Raises:
        DataError: If there is no such label.
        ConfigError: If the image would be smaller than 32 pixels.

    Example:
        >>> import numpy as np
        >>> image, mask = render_cell("monocyte", LABORATORIES["munich"], np.random.default_rng(0))
        >>> image.shape, mask.max()
        ((224, 224, 3), np.uint8(2))
    """
    _check_label(label)
    _check_size(size)
    frame = Frame(size, laboratory.width)
    # A generator for each part: what one part draws does not shift what the others draw.
    for_cell, for_smear, for_camera = (np.random.default_rng(rng.integers(2**63)) for _ in range(3))
    cell = draw_white_cell(CELL_TYPES[label], frame, for_cell)
    smear = draw_smear(cell, laboratory.crowding, frame, for_smear)
    return laboratory.photograph(smear, frame, for_camera), cell.mask


def load_rendered(
    laboratory: str = "munich",
    *,
    cells_per_class: int = 20,
    seed: int = 0,
    size: int = 224,
    labels: Sequence[str] = LABELS,
) -> Dataset:
    """Renders a data set in memory; nothing is read from or written to the disk.

    A cell depends on its label, its number, the laboratory's name, the seed and the size alone, so that more cells of
    a class, or other classes beside it, leave it as it is.

    Args:
        laboratory: A name in `LABORATORIES`, or `ANYWHERE`; it becomes the domain.
        cells_per_class: Cells of each label.
        seed: Non-negative seed of all cells and slides.
        size: Side of the images, pixels, at least 32.
        labels: Classes to render, in this order.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`, grouped by label. ``mask`` is as `render_cell` returns
        it, ``group`` is the slide, whose cells share a slight shift of stain and light, and ``file`` is a name such as
        ``basophil_0003.png``.

    Raises:
        DataError: If there is no such laboratory or label.
        ConfigError: If a number is out of range.

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
    """Writes the cells of `load_rendered` as PNG files, with a CSV that ties images to masks.

    Writes ``<laboratory>/<label>/<file>``, ``masks/<laboratory>/<file>`` and ``masks/pairs.csv``, whose
    columns ``image`` and ``mask`` hold paths relative to `folder`. `load_folder` reads each laboratory's folder.

    Args:
        folder: New or empty folder.
        laboratories: Names in `LABORATORIES`, or `ANYWHERE`.
        cells_per_class: See `load_rendered`, as for the other options.
        seed: Non-negative.
        size: Pixels.
        labels: Classes to render.

    Returns:
        Path of ``pairs.csv``.

    Raises:
        DataError: If the folder is not empty, or there is no such laboratory or label.
        ConfigError: If a number is out of range.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder. Give a new one, or remove it.")
    for laboratory in laboratories:
        _check_request(laboratory, cells_per_class, seed, size, labels)
    pairs = []
    for laboratory in laboratories:
        for row in _rows(laboratory, cells_per_class, seed, size, labels):
            image = Path(laboratory, row["label"], row["file"])
            mask = Path("masks", laboratory, row["file"])
            for path, pixels in ((image, row["image"]), (mask, row["mask"])):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(pixels["bytes"])
            pairs.append((image.as_posix(), mask.as_posix()))
    path = folder / "masks" / "pairs.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "mask"), *pairs])
    return path


def _rows(
    laboratory: str, cells_per_class: int, seed: int, size: int, labels: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Renders the rows of a data set one by one, under a progress bar."""
    slides = _slides(laboratory, cells_per_class, seed)
    cells = [(label, index) for label in labels for index in range(cells_per_class)]
    for label, index in tqdm(cells, f"Rendering {laboratory}", unit="cell", disable=None):
        slide = index % len(slides)
        image, mask = render_cell(label, slides[slide], _generator(seed, laboratory, label, index), size)
        file = f"{label}_{index:04d}.png"
        yield {
            "image": {"bytes": _png(image), "path": file},
            "label": label,
            "domain": laboratory,
            "mask": {"bytes": _png(mask), "path": file},
            "group": f"{laboratory}_slide_{slide}",
            "file": file,
        }


def _slides(laboratory: str, cells_per_class: int, seed: int) -> list[Laboratory]:
    """Stain, microscope and camera of each slide."""
    if laboratory == ANYWHERE:
        return [any_laboratory(_generator(seed, laboratory, "slide", i)) for i in range(cells_per_class)]
    return [LABORATORIES[laboratory].slide(_generator(seed, laboratory, "slide", i)) for i in range(SLIDES)]


def _generator(seed: int, laboratory: str, what: str, index: int) -> np.random.Generator:
    """Returns the generator of one cell or slide: the same wherever and however often it is asked for."""
    return np.random.default_rng([seed, zlib.crc32(f"{laboratory}/{what}".encode()), index])


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=1)  # noise hardly shrinks, however long one tries
    return file.getvalue()


def _check_request(laboratory: str, cells_per_class: int, seed: int, size: int, labels: Sequence[str]) -> None:
    if laboratory not in (*LABORATORIES, ANYWHERE):
        names = ", ".join((*LABORATORIES, ANYWHERE))
        raise DataError(f"There is no laboratory {laboratory!r}; choose among {names}.")
    for label in labels:
        _check_label(label)
    _check_size(size)
    if cells_per_class < 1:
        raise ConfigError(f"cells_per_class must be at least 1, not {cells_per_class}.")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, as {seed} is.")


def _check_label(label: str) -> None:
    if label not in CELL_TYPES:
        raise DataError(f"No cell of the class {label!r} can be rendered; choose among {', '.join(LABELS)}.")


def _check_size(size: int) -> None:
    if size < 32:
        raise ConfigError(f"size must be at least 32 pixels, not {size}.")
