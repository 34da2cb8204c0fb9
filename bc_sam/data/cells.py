"""The common table format of all loaders, and how it is built from image files."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetInfo, Features, Image, Value

from bc_sam.config.labels import LABELS
from bc_sam.data.annotated_masks import match_masks
from bc_sam.data.images import find_images
from bc_sam.errors import DataError
from bc_sam.utils.display import as_utf8

logger = logging.getLogger(__name__)

#: Columns of every data set of cells. All except `image`, `domain` and `file` may be ``None``.
FEATURES = Features(
    {
        "image": Image(),
        "label": ClassLabel(names=list(LABELS)),
        "domain": Value("string"),
        "mask": Image(),
        "group": Value("string"),
        "file": Value("string"),
    }
)


def features_of(labels: Sequence[str]) -> Features:
    """Returns the columns of a data set with other class labels.

    Example:
        >>> features_of(["young", "old"])["label"].names
        ['young', 'old']
    """
    return Features({**FEATURES, "label": ClassLabel(names=list(labels))})


def require_labels(dataset: Dataset, labels: Sequence[str]) -> None:
    """Checks that a data set has the same class labels as a model, in the same order.

    Raises:
        DataError: If the labels differ.
    """
    found = dataset.features["label"].names
    if found != list(labels):
        raise DataError(
            f"The data set has the classes {', '.join(found)}, but the model has {', '.join(labels)}. "
            "Use a model with the same classes."
        )


@dataclass(frozen=True)
class Cell:
    """One image of a data set.

    Attributes:
        file: Path relative to the data set's root, with forward slashes.
        label: Canonical class name, or ``None`` if unknown.
        group: Slide or patient, or ``None`` if unknown.
        image: Encoded image, if the cell is cropped from the file; ``None`` if the file is the image.
    """

    file: str
    label: str | None = None
    group: str | None = None
    image: bytes | None = None


def find_coded_cells(
    root: Path, code_of: Callable[[Path], str], codes: Mapping[str, str | None]
) -> tuple[list[Cell], list[str]]:
    """Finds the images of an archive that encodes the class in file or folder names.

    Args:
        root: Folder of the archive.
        code_of: Returns the class code of an image from its path relative to `root`.
        codes: Canonical class of each code; ``None`` excludes its images.

    Returns:
        The cells, sorted by path, and the code of each excluded image.

    Raises:
        DataError: If an image has an unknown code.
    """
    cells, left_out = [], []
    for path in find_images(root):
        file = path.relative_to(root)
        code = code_of(file).upper()
        if code not in codes:
            valid = ", ".join(codes)
            raise DataError(f"{file} in {root} has none of the codes {valid}. Remove it, or use load_folder.")
        label = codes[code]
        if label is None:
            left_out.append(code)
        else:
            cells.append(Cell(file.as_posix(), label))
    return cells, left_out


def most_have_code(folder: Path, code_of: Callable[[Path], str], codes: Mapping[str, str | None]) -> bool:
    """Whether most images of a folder have one of an archive's codes. Its loader then reports the others.

    Args:
        folder: Folder of images.
        code_of: See `find_coded_cells`.
        codes: See `find_coded_cells`.
    """
    files = [path.relative_to(folder) for path in find_images(folder)]
    return sum(code_of(file).upper() in codes for file in files) > len(files) / 2


def build_dataset(
    root: Path,
    cells: Sequence[Cell],
    *,
    domain: str,
    masks: str | Path | None = None,
    left_out: Iterable[str] = (),
    info: DatasetInfo | None = None,
) -> Dataset:
    """Builds the table of a data set. Images without encoded bytes are referenced by path and not opened.

    Args:
        root: Folder that the cells' files are relative to.
        cells: The images, in row order.
        domain: Name of the laboratory or data set.
        masks: CSV that assigns masks to images; see `bc_sam.data.annotated_masks`.
        left_out: Code of each excluded image. The counts are logged and stored in ``dataset.info.description``.
        info: Licence, source and features of the data; the features default to `FEATURES`.

    Returns:
        Dataset with the columns `FEATURES`.

    Raises:
        DataError: If there are no cells, or the masks cannot be used.
    """
    if not cells:
        raise DataError(f"No cell images found in {root}. Give a folder of single-cell images.")
    mask_paths = match_masks(masks, root, [cell.file for cell in cells]) if masks else [None] * len(cells)
    columns = {
        "image": [_image(root, cell) for cell in cells],
        "label": [cell.label for cell in cells],
        "domain": [domain] * len(cells),
        "mask": [_reference(path) if path else None for path in mask_paths],
        "group": [cell.group and as_utf8(cell.group) for cell in cells],
        "file": [as_utf8(cell.file) for cell in cells],
    }
    dataset = Dataset.from_dict(columns, features=FEATURES if info is None else info.features, info=info)
    dataset.info.description = _describe(domain, len(cells), Counter(left_out))
    logger.info(dataset.info.description)
    return dataset


def _image(root: Path, cell: Cell) -> dict[str, bytes | str | None]:
    """Returns the value of the column `image`. Bytes have no path, since `datasets` prefers a file that exists."""
    if cell.image is None:
        return _reference((root / cell.file).resolve())
    return {"bytes": cell.image, "path": None}


def _reference(path: Path) -> dict[str, bytes | str | None]:
    """Refers to a file; one whose name is not UTF-8, which no data set can hold, is read instead."""
    if as_utf8(str(path)) == str(path):
        return {"bytes": None, "path": str(path)}
    return {"bytes": path.read_bytes(), "path": None}


def _describe(domain: str, n_cells: int, left_out: Counter[str]) -> str:
    counts = ", ".join(f"{code} {count}" for code, count in sorted(left_out.items()))
    return f"{domain}: {n_cells} cells; left out: {counts or 'none'}."
