"""What each level of a folder of images means: a split, a class, or a patient."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from bc_sam.data.names.recognition import find_label, is_class_name
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)

_SPLIT = re.compile(
    r"(train(ing)?|val(id(ation)?)?|test(ing)?|dev|hold[ _-]?out)([ _.-]?(set|data|simple|[a-z]|\d+))?", re.I
)
_PART_OF_SET = re.compile(r"\d+-\d+")
_CONTAINERS = ("images", "image", "img", "imgs", "pictures", "cells", "data", "jpegimages", "fields", "photos")


def is_split_name(name: str) -> bool:
    """Whether a folder name is that of a split.

    Example:
        >>> is_split_name("TRAIN"), is_split_name("Test-A"), is_split_name("validation"), is_split_name("trainee")
        (True, True, True, False)
    """
    return _SPLIT.fullmatch(name) is not None


def is_container_name(name: str) -> bool:
    """Whether a folder name says only that images are in it.

    Example:
        >>> is_container_name("Images"), is_container_name("monocyte")
        (True, False)
    """
    return name.casefold() in _CONTAINERS


@dataclass(frozen=True)
class FolderLayout:
    """The meaning of the levels of folders; level 0 is the topmost.

    Attributes:
        split: Level of the splits, or ``None``.
        label: Level of the classes, or ``None`` if the images are unlabelled.
    """

    split: int | None = None
    label: int | None = None

    def split_of(self, file: PurePosixPath) -> str | None:
        """Returns the name of the split of a file."""
        return None if self.split is None else file.parts[self.split]

    def class_of(self, file: PurePosixPath) -> str | None:
        """Returns the class name of a file."""
        return None if self.label is None else file.parts[self.label]

    def others_of(self, file: PurePosixPath) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the folders of a file above its class, and those below it, which may be patients or slides."""
        folders = [
            (level, name) for level, name in enumerate(file.parts[:-1]) if level not in (self.split, self.label)
        ]
        first_below = len(file.parts) if self.label is None else self.label
        above = tuple(name for level, name in folders if level < first_below)
        return above, tuple(name for level, name in folders if level > first_below)


def read_layout(
    files: Sequence[PurePosixPath], is_mapped: Callable[[str], bool], *, where: str, by_folder: bool = False
) -> FolderLayout:
    """Finds out which level of folders is which.

    The level with the most names of classes is that of the classes. If no level has any, it is the topmost one, except
    for folders named images or the like, or if the folders are said to be patients.

    Args:
        files: Paths of the images, relative to their common folder.
        is_mapped: Whether a name is in the user's label map.
        where: The folder, for messages.
        by_folder: Whether the user says that folders are patients.

    Raises:
        DataError: If there are images beside the folders of classes.
    """
    split = _split_level(files, is_mapped)
    label = _class_level(files, split, is_mapped, by_folder)
    beside = [file for file in files if label is not None and len(file.parts) <= label + 1]
    if beside:
        folders = sorted({file.parts[label or 0] for file in files} - {file.name for file in beside})
        raise DataError(f"{where} contains images beside the subfolders {', '.join(folders)}. Move them into one.")
    return FolderLayout(split, label)


def _split_level(files: Sequence[PurePosixPath], is_mapped: Callable[[str], bool]) -> int | None:
    shortest = min((len(file.parts) - 1 for file in files), default=0)
    for level in range(shortest):
        names = {file.parts[level] for file in files}
        splits = {name for name in names if is_split_name(name) and not is_mapped(name)}
        if splits == names or (len(splits) > 1 and not any(is_mapped(name) or is_class_name(name) for name in names)):
            return level
    return None


def _class_level(
    files: Sequence[PurePosixPath], split: int | None, is_mapped: Callable[[str], bool], by_folder: bool
) -> int | None:
    levels = [level for level in range(max((len(file.parts) - 1 for file in files), default=0)) if level != split]
    scores = {}
    for level in levels:
        counts = Counter(file.parts[level] for file in files if len(file.parts) > level + 1)
        known = sum(n for name, n in counts.items() if is_mapped(name) or is_class_name(name))
        exact = sum(n for name, n in counts.items() if is_mapped(name) or find_label(name))
        scores[level] = (known, exact, -level)
    best = max(levels, key=lambda level: scores[level], default=None)
    if best is None or scores[best][0]:
        return best
    top = {file.parts[best] for file in files if len(file.parts) > best + 1}
    return None if by_folder or all(map(is_container_name, top)) else best


def choose_split(
    files: Sequence[PurePosixPath], layout: FolderLayout, split: str | None, *, where: str
) -> list[PurePosixPath]:
    """Returns the files of one split, or of all, which is logged.

    Raises:
        DataError: If there is no such split.
    """
    counts = Counter(layout.split_of(file) for file in files)
    counted = ", ".join(f"{name} ({n})" for name, n in sorted(counts.items(), key=str))
    if split is not None:
        chosen = [file for file in files if (layout.split_of(file) or "").casefold() == split.casefold()]
        if not chosen:
            found = f"It has {counted}" if layout.split is not None else "It has no folders of splits"
            raise DataError(f"{where} has no split {split!r}. {found}. Correct or omit --split.")
        logger.info("%s: the split %s is read, of %s.", where, split, counted)
        return chosen
    if layout.split is not None and len(counts) > 1:
        logger.warning("%s: the splits %s are joined. Choose one with --split.", where, counted)
    return list(files)


def folder_groups(files: Sequence[PurePosixPath], layout: FolderLayout, *, where: str) -> list[str | None]:
    """Returns the patient or slide of each file: the folders above its class, or else those below it.

    Raises:
        DataError: If no folder is left for patients.
    """
    folders = [layout.others_of(file) for file in files]
    above = ["/".join(above) or None for above, _ in folders]
    below = ["/".join(below) or None for _, below in folders]
    groups = below if len(set(above)) <= 1 and any(below) else above
    if not any(groups):
        raise DataError(
            f"{where} has no folders beside those of the classes, so --group-by folder cannot tell its slides or "
            "patients. Use --group-pattern."
        )
    return groups


def mention_other_folders(files: Sequence[PurePosixPath], layout: FolderLayout, *, where: str) -> None:
    """Says which folders may be patients or slides, if nobody said that they are."""
    names = {
        name
        for file in files
        for part in layout.others_of(file)
        for name in part
        if not _PART_OF_SET.fullmatch(name) and not is_container_name(name)
    }
    if len(names) > 1:
        shown = ", ".join(sorted(names)[:3])
        logger.warning(
            "%s: %d folders are no classes or splits: %s. If they are patients or slides, add --group-by folder.",
            where,
            len(names),
            shown,
        )
