"""Writes files so that a kill or a full disk never leaves half of one in its place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

#: Suffix of unfinished files, which a kill may leave behind. They are hidden and never read.
UNFINISHED = ".part"


@contextmanager
def written_aside(path: Path | str) -> Iterator[Path]:
    """Yields the path of a file to write beside `path`, which it replaces once the block succeeds.

    The content is on the disk before the old file goes, so that `path` holds all of the old or all of the new content.

    Args:
        path: The file to create or replace.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "state.json"
        >>> with written_aside(path) as unfinished:
        ...     _ = unfinished.write_text("{}")
        >>> path.read_text(), [file.name for file in path.parent.iterdir()]
        ('{}', ['state.json'])
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def save_array(array: np.ndarray, path: Path | str) -> None:
    """Writes an array in NumPy's format; see `written_aside`."""
    with written_aside(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def is_unfinished(name: str) -> bool:
    """Whether a file was left behind by an interrupted `written_aside`.

    Example:
        >>> is_unfinished(".run.json.123.part"), is_unfinished("run.json")
        (True, False)
    """
    return name.startswith(".") and name.endswith(UNFINISHED)
