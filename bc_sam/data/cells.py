"""The one table that every loader returns: its columns, and how files become its rows."""

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

logger = logging.getLogger(__name__)

#: Columns of every data set of cells. Only `image`, `domain` and `file` are never ``None``.
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
    """Returns the columns of a data set of other cells, whose classes have other names.

    Example:
        >>> features_of(["young", "old"])["label"].names
        ['young', 'old']
    """
    return Features({**FEATURES, "label": ClassLabel(names=list(labels))})


def require_labels(dataset: Dataset, labels: Sequence[str]) -> None:
    """Checks that a data set names the classes that a model does, in the same order.

    Raises:
        DataError: If it is of another kind of cells.
    """
    found = dataset.features["label"].names
    if found != list(labels):
        raise DataError(
            f"The data name {', '.join(found)}, the model {', '.join(labels)}. Take a model of these cells."
        )


@dataclass(frozen=True)
class Cell:
    """One image file of a data set.

    Attributes:
        file: Path relative to the data set's root, with forward slashes.
        label: Canonical class name, or ``None`` where it is not known.
        group: Slide or patient, or ``None`` where it is not known.
    """

    file: str
    label: str | None = None
    group: str | None = None


def find_coded_cells(
    root: Path, code_of: Callable[[Path], str], codes: Mapping[str, str | None]
) -> tuple[list[Cell], list[str]]:
    """Finds the images of an archive that tells the class by a code.

    Args:
        root: Folder of the archive.
        code_of: Returns the code of an image, from its path relative to `root`.
        codes: Canonical class of each code; ``None`` leaves its images out.

    Returns:
        The cells, sorted by path, and the code of each image left out.

    Raises:
        DataError: If an image has another code.
    """
    cells, left_out = [], []
    for path in find_images(root):
        file = path.relative_to(root)
        code = code_of(file).upper()
        if code not in codes:
            known = ", ".join(codes)
            raise DataError(f"{file} in {root} has none of the codes {known}. Move it away, or use load_folder.")
        label = codes[code]
        if label is None:
            left_out.append(code)
        else:
            cells.append(Cell(file.as_posix(), label))
    return cells, left_out


def most_have_code(folder: Path, code_of: Callable[[Path], str], codes: Mapping[str, str | None]) -> bool:
    """Whether most images of a folder have one of an archive's codes. Its loader then names the stray ones.

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
    """Builds the table of a data set's cells. Images stay in their files, which are not opened.

    Args:
        root: Folder that the cells' files are relative to.
        cells: The images, in the order of the rows.
        domain: Name of the laboratory or data set.
        masks: CSV that ties images to masks; see `bc_sam.data.annotated_masks`.
        left_out: Code of each image that was left out. Their counts are logged, and end `dataset.info.description`.
        info: Licence and source of the data, with its features; without it they are `FEATURES`.

    Returns:
        Dataset with the columns `FEATURES`.

    Raises:
        DataError: If there is no cell, or the masks cannot be used.
    """
    if not cells:
        raise DataError(f"No cell image to use was found in {root}. Give a folder that holds images of single cells.")
    mask_paths = match_masks(masks, root, [cell.file for cell in cells]) if masks else [None] * len(cells)
    columns = {
        "image": [str((root / cell.file).resolve()) for cell in cells],
        "label": [cell.label for cell in cells],
        "domain": [domain] * len(cells),
        "mask": [str(path) if path else None for path in mask_paths],
        "group": [cell.group for cell in cells],
        "file": [cell.file for cell in cells],
    }
    dataset = Dataset.from_dict(columns, features=FEATURES if info is None else info.features, info=info)
    dataset.info.description = _describe(domain, len(cells), Counter(left_out))
    logger.info(dataset.info.description)
    return dataset


def _describe(domain: str, n_cells: int, left_out: Counter[str]) -> str:
    counts = ", ".join(f"{code} {count}" for code, count in sorted(left_out.items()))
    return f"{domain}: {n_cells} cells; left out: {counts or 'none'}."
