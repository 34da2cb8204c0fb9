"""The slide or patient of each image, read from file names or folders."""

import logging
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from bc_sam.data.names.recognition import find_label
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)


def read_groups(files: Sequence[str], pattern: str | None, *, where: str) -> list[str | None]:
    r"""Extracts the slide or patient of each image by a regular expression.

    It is searched in the file name, and in the whole relative path if it contains a slash, or if it matches no file
    name at all.

    Args:
        files: Paths relative to the data set, with forward slashes.
        pattern: Regular expression whose first group is the slide or patient; ``None`` if unknown.
        where: Name of the data set, for messages.

    Returns:
        The group of each file; ``None`` where the pattern does not match.

    Raises:
        DataError: If the pattern is invalid, matches nothing, or extracts class names instead of slides.

    Example:
        >>> read_groups(["monocyte/s1_1.png", "monocyte/s2_9.png"], "^([^_]+)_", where="x")
        ['s1', 's2']
        >>> read_groups(["patient_7/monocyte/1.png"], r"patient_(\d+)", where="x")
        ['7']
    """
    if pattern is None:
        return [None] * len(files)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(f"The group pattern {pattern!r} is not a valid regular expression: {error}.") from None
    if expression.groups == 0:
        raise DataError(
            f"The group pattern {pattern!r} has no group. Put the slide in parentheses, as in '^([^_]+)_'."
        )
    matches = [expression.search(PurePosixPath(file).name) for file in files]
    if "/" in pattern or not any(matches):
        matches = [expression.search(file) for file in files]
        if any(matches) and "/" not in pattern:
            logger.info("%s: the group pattern matches no file name and is searched in the whole paths.", where)
    if files and not any(matches):
        raise DataError(
            f"The group pattern {pattern!r} matches no file name, such as {PurePosixPath(files[0]).name!r}, and no "
            f"path, such as {files[0]!r}, of {where}. Correct it."
        )
    groups = [match.group(1) if match else None for match in matches]
    if missing := groups.count(None):
        logger.warning("The group pattern %r does not match %d of %d file names.", pattern, missing, len(files))
    found = {group for group in groups if group is not None}
    if found and all(map(find_label, found)):
        raise DataError(
            f"The group pattern {pattern!r} extracts the classes of {where} ({', '.join(sorted(found)[:5])}), not its "
            "slides. Correct it."
        )
    return groups


def archive_groups(files: Sequence[str], pattern: str | None, *, where: str) -> list[str | None]:
    """Extracts the slide from the names of a published archive, which usually have none; see `read_groups`.

    A pattern that does not fit is reported and not used, since it may be meant for another data set of the run.
    """
    try:
        return read_groups(files, pattern, where=where)
    except DataError as error:
        logger.warning("%s: slides stay unknown. %s", where, error)
        return [None] * len(files)
