"""Search of folders for images, through symbolic links, and the files that are not images."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from bc_sam.data.decoding.formats import IMAGE_FORMATS
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)

#: Lower-case file-name suffixes of images: every suffix that the decoder reads.
IMAGE_SUFFIXES = tuple(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)

# Files that operating systems leave in folders.
_LITTER = ("thumbs.db", "desktop.ini")


def walk_files(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields the files of a folder and its subfolders in order, except hidden ones and ``__MACOSX``.

    Symbolic links to folders are followed, but not back into a folder that contains them.

    Raises:
        DataError: If the folder does not exist or cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Give a folder of images.")
    yield from _walk(root, frozenset())


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Returns the sorted image files of a folder and its subfolders, except hidden ones and ``__MACOSX``.

    Raises:
        DataError: If the folder does not exist or cannot be read.
    """
    return sorted(path for path in walk_files(folder) if is_image_name(path.name))


def count_other_files(folder: Path, used: Iterable[Path] = ()) -> Counter[str]:
    """Counts the files of a folder that are not images, by suffix.

    Args:
        folder: The folder.
        used: Files that were read, such as a table of labels.

    Example:
        ``count_other_files(Path("cells"))`` may be ``Counter({".txt": 2, "without suffix": 1})``
    """
    known = {path.resolve() for path in used}
    others = (path for path in walk_files(folder) if not is_image_name(path.name) and path.resolve() not in known)
    return Counter(path.suffix.lower() or "without suffix" for path in others)


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        logger.warning("%s leads back into a folder that contains it, and is not followed.", folder)
        return
    try:
        with os.scandir(folder) as entries:
            visible = sorted((entry for entry in entries if _is_visible(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}. Change its permissions, or remove it.") from error
    for entry in visible:
        if entry.is_dir():
            yield from _walk(folder / entry.name, above | {real})
        else:
            yield folder / entry.name


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX" and name.lower() not in _LITTER
