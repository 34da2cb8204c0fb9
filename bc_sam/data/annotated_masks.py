"""Annotated masks, assigned to images by a CSV file with the columns ``image`` and ``mask``."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bc_sam.data.csv_table import read_csv
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)


class MaskList:
    """A CSV file that assigns masks to images, which remembers whether it matched any image.

    Args:
        path: The CSV file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.n_matched = 0

    @classmethod
    def of(cls, masks: "MaskList | str | Path") -> "MaskList":
        """Returns the list itself if it is one already, as several data sets share it."""
        return masks if isinstance(masks, MaskList) else cls(masks)

    def match(self, root: Path, files: Sequence[str]) -> list[Path | None]:
        """Finds the mask of each image; see `match_masks`."""
        masks = match_masks(self.path, root, files)
        self.n_matched += sum(mask is not None for mask in masks)
        return masks

    def files(self) -> set[Path]:
        """Returns the resolved paths of all masks, which may lie among the images."""
        return {_resolve(self.path, mask) for _, mask in _read_pairs(self.path)}

    def require_used(self) -> None:
        """Checks that at least one image has a mask.

        Raises:
            DataError: If none has, so that training would go on without any mask.
        """
        if not self.n_matched:
            rows = _read_pairs(self.path)
            example = f", such as {rows[0][0]!r}" if rows else ""
            raise DataError(
                f"The mask list {self.path} matches none of the images: none has a path of its column image{example}. "
                "Paths are relative to the list or to its parent folder. Correct or omit it (--masks)."
            )


def match_masks(pairs: str | Path, root: Path, files: Sequence[str]) -> list[Path | None]:
    """Finds the mask of each image.

    Paths in the CSV, with slashes or backslashes, are relative to its folder or to the parent of that folder. If at
    least one image path resolves to a file of the data set, all images are matched by resolved path. Otherwise, for a
    data set that was moved, an image is matched by path suffix: ``lab/PBC/basophil/BA_1.jpg`` matches
    ``basophil/BA_1.jpg``.

    Args:
        pairs: Path of the CSV file. Rows whose image is not in the data set are ignored.
        root: Folder of the data set.
        files: Image paths relative to `root`, with forward slashes.

    Returns:
        Absolute path of the mask of each image, or ``None`` for images without one.

    Raises:
        DataError: If the CSV cannot be read or lacks a column, a mask is missing, or an image has two masks.
    """
    pairs = Path(pairs)
    rows = _read_pairs(pairs)
    indices = {(root / file).resolve(): index for index, file in enumerate(files)}
    matches = [(indices.get(_resolve(pairs, image)), mask) for image, mask in rows]
    if all(index is None for index, _ in matches):
        by_file = {file: index for index, file in enumerate(files)}
        matches = [(_match_suffix(image, by_file), mask) for image, mask in rows]
    found = defaultdict(set)
    for index, mask in matches:
        if index is not None:
            found[index].add(_resolve(pairs, mask))
    for index, paths in found.items():
        _check(pairs, files[index], paths)
    logger.info("%s has masks for %d of %d images in %s.", pairs, len(found), len(files), root)
    return [next(iter(found[index])) if index in found else None for index in range(len(files))]


def _read_pairs(pairs: Path) -> list[tuple[str, str]]:
    rows = [(_slashes(row["image"]), _slashes(row["mask"])) for row in read_csv(pairs, ("image", "mask"))]
    for line, row in enumerate(rows, start=2):
        if not all(row):
            raise DataError(f"{pairs} has no image or no mask in line {line}. Complete or remove it.")
    return rows


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _resolve(pairs: Path, name: str) -> Path:
    """Resolves a path relative to the folder of the CSV, or to its parent if there is no such file."""
    folder = pairs.resolve().parent
    inside = folder / name
    return (inside if inside.exists() else folder.parent / name).resolve()


def _match_suffix(image: str, by_file: dict[str, int]) -> int | None:
    """Returns the index of the longest file path of the data set that is a suffix of an image path."""
    parts = PurePosixPath(image).parts
    return next((by_file[suffix] for i in range(len(parts)) if (suffix := "/".join(parts[i:])) in by_file), None)


def _check(pairs: Path, file: str, masks: set[Path]) -> None:
    if len(masks) > 1:
        names = " and ".join(sorted(map(str, masks)))
        raise DataError(f"{pairs} gives {file} more than one mask: {names}. Leave one row for this image.")
    for mask in masks:
        if not mask.is_file():
            raise DataError(f"{pairs} names the mask {mask}, which does not exist. Add the file or remove its row.")
