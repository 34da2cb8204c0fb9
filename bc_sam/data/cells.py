"""The common table format of all loaders, and how it is built from image files."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetInfo, Features, Image, Value

from bc_sam.config.labels import LABELS
from bc_sam.data.annotated_masks import MaskList
from bc_sam.data.file_search import count_other_files, find_images
from bc_sam.data.groups import archive_groups
from bc_sam.data.names.label_map import LabelMap
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
    root: Path,
    code_of: Callable[[Path], str],
    codes: Mapping[str, str | None],
    *,
    label_map: Mapping[str, str | None] | None = None,
    group_pattern: str | None = None,
) -> tuple[list[Cell], list[str]]:
    """Finds the images of an archive that encodes the class in file or folder names.

    Args:
        root: Folder of the archive.
        code_of: Returns the class code of an image from its path relative to `root`.
        codes: Canonical class of each code; ``None`` excludes its images.
        label_map: Changes the class of codes, or adds some.
        group_pattern: See `bc_sam.data.groups.archive_groups`.

    Returns:
        The cells, sorted by path, and the code of each excluded image.

    Raises:
        DataError: If an image has an unknown code, or `label_map` names one that no image has.
    """
    cells, left_out = [], []
    given = LabelMap.of(label_map)
    given.require_labels(LABELS)
    for path in find_images(root):
        file = path.relative_to(root)
        code = code_of(file).upper()
        if code not in given and code not in codes:
            valid = ", ".join(codes)
            raise DataError(f"{file} in {root} has none of the codes {valid}. Remove it, or use load_folder.")
        given.note([code])
        label = given[code] if code in given else codes[code]
        if label is None:
            left_out.append(code)
        else:
            cells.append(Cell(file.as_posix(), label))
    if given is not label_map:
        given.require_used()
    groups = archive_groups([cell.file for cell in cells], group_pattern, where=root.name)
    return [replace(cell, group=group) for cell, group in zip(cells, groups, strict=True)], left_out


def build_dataset(
    root: Path,
    cells: Sequence[Cell],
    *,
    domain: str,
    masks: "MaskList | str | Path | None" = None,
    left_out: Iterable[str] = (),
    info: DatasetInfo | None = None,
    used: Iterable[Path] = (),
) -> Dataset:
    """Builds the table of a data set. Images without encoded bytes are referenced by path and not opened.

    Args:
        root: Folder that the cells' files are relative to.
        cells: The images, in row order.
        domain: Name of the laboratory or data set.
        masks: CSV that assigns masks to images; see `bc_sam.data.annotated_masks`.
        left_out: Code of each excluded image. The counts are logged and stored in ``dataset.info.description``.
        info: Licence, source and features of the data; the features default to `FEATURES`.
        used: Files below `root` that were read and are not images; the others are counted in the description.

    Returns:
        Dataset with the columns `FEATURES`.

    Raises:
        DataError: If there are no cells, or the masks cannot be used or match no image.
    """
    others = count_other_files(root, used)
    if not cells:
        found = f" It has other files: {_counts(others)}." if others else ""
        raise DataError(f"No cell images found in {root}. Give a folder of single-cell images.{found}")
    mask_list = MaskList.of(masks) if masks else None
    mask_paths = mask_list.match(root, [cell.file for cell in cells]) if mask_list else [None] * len(cells)
    if mask_list and mask_list is not masks:
        mask_list.require_used()
    columns = {
        "image": [_image(root, cell) for cell in cells],
        "label": [cell.label for cell in cells],
        "domain": [domain] * len(cells),
        "mask": [_reference(path) if path else None for path in mask_paths],
        "group": [cell.group and as_utf8(cell.group) for cell in cells],
        "file": [as_utf8(cell.file) for cell in cells],
    }
    dataset = Dataset.from_dict(columns, features=FEATURES if info is None else info.features, info=info)
    dataset.info.description = _describe(domain, len(cells), Counter(left_out), others)
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


def _describe(domain: str, n_cells: int, left_out: Counter[str], others: Counter[str]) -> str:
    files = f" Files that are not images: {_counts(others)}." if others else ""
    return f"{domain}: {n_cells} cells; left out: {_counts(left_out) or 'none'}.{files}"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))
