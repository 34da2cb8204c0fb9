"""Writes files and folders so that a kill or a full disk never leaves half of one in its place.

What is being written lies beside its place, under a hidden name that ends in `UNFINISHED`. A process that is killed
leaves it behind; whoever writes to the same place next removes it.
"""

import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from bc_sam.errors import BCSamError
from bc_sam.utils.path_lock import lock_path

logger = logging.getLogger(__name__)

#: Suffix of unfinished files and folders, which a kill may leave behind. They are hidden and never read.
UNFINISHED = ".part"

# Suffix of a folder that is being replaced.
_REPLACED = ".old"

#: What writing to a full or failing disk raises: safetensors has an exception of its own.
WRITE_ERRORS = (OSError, SafetensorError)


@contextmanager
def written_aside(path: Path | str) -> Iterator[Path]:
    """Yields the path of a file to write beside `path`, which it replaces once the block succeeds.

    The content is on the disk before the old file goes, so that `path` holds all of the old or all of the new content.
    Links are followed; a device or a pipe, which cannot be replaced, is written to directly.

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
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    _remove_leftovers(path, UNFINISHED)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        unfinished.touch()
        with _in_use(unfinished):
            yield unfinished
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def folder_written_aside(folder: Path | str, *, keep_existing: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside `folder`, which it replaces once the block succeeds; see `written_aside`.

    No system can replace a folder that is not empty in one step. A kill between the two steps leaves `folder` missing,
    and `recover_folder`, which also runs before the next replacement, completes it.

    Args:
        folder: The folder to create or replace. Its parent must exist.
        keep_existing: Keep a folder that another process put there in the meantime, instead of replacing it.

    Raises:
        BCSamError: If the folder is the current one, or where a disk is mounted.
    """
    folder = Path(folder)
    _require_replaceable(folder)
    recover_folder(folder)
    _remove_leftovers(folder, UNFINISHED)
    if folder.exists():
        _remove_leftovers(folder, _REPLACED)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=UNFINISHED, dir=folder.parent))
    try:
        with _in_use(unfinished):
            yield unfinished
            _set_default_permissions(unfinished)
            sync_folder(unfinished)
            if not (keep_existing and folder.is_dir()):
                _replace_folder(folder, unfinished)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def recover_folder(folder: Path | str) -> None:
    """Completes the replacement of a folder that was interrupted between its two steps; otherwise does nothing.

    Args:
        folder: A folder written by `folder_written_aside`.
    """
    folder = Path(folder)
    if folder.exists():
        return
    for old in _siblings(folder, _REPLACED):
        new = old.with_suffix(UNFINISHED)
        if _is_in_use(new if new.exists() else old):  # by a process that is between the two steps right now
            continue
        with suppress(OSError):  # a folder that must not be written to stays as it is
            os.rename(new if new.exists() else old, folder)
            logger.warning("The replacement of %s had been interrupted and is completed.", folder)
            shutil.rmtree(old, ignore_errors=True)
        return


def sync_folder(folder: Path) -> None:
    """Flushes all files of a folder to the disk, so that they survive a power failure."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def save_array(array: np.ndarray, path: Path | str) -> None:
    """Writes an array in NumPy's format; see `written_aside`."""
    content = io.BytesIO()  # written to a file, NumPy's last 4 KiB are lost without an error if the disk is full
    np.save(content, array, allow_pickle=False)
    with written_aside(path) as unfinished:
        unfinished.write_bytes(content.getbuffer())


def load_array(path: Path | str, remedy: str) -> np.ndarray:
    """Reads an array written by `save_array`.

    Args:
        path: The file.
        remedy: What to do if it is damaged, for the error message.

    Raises:
        BCSamError: If the file is missing or damaged.
    """
    try:
        array: np.ndarray = np.load(path)
    except (OSError, EOFError, ValueError) as error:
        raise BCSamError(f"{path} is missing or damaged ({error}). {remedy}") from error
    return array


def is_unfinished(name: str) -> bool:
    """Whether a file was left behind by an interrupted `written_aside`.

    Example:
        >>> is_unfinished(".run.json.123.part"), is_unfinished("run.json")
        (True, False)
    """
    return name.startswith(".") and name.endswith(UNFINISHED)


def _require_replaceable(folder: Path) -> None:
    if not folder.is_dir():
        return
    is_current = False
    with suppress(OSError):  # the current folder may have been removed
        is_current = folder.samefile(os.curdir)
    if is_current or os.path.ismount(folder):
        what = "the current folder" if is_current else "where a disk is mounted"
        raise BCSamError(
            f"{folder} is {what}, which cannot be replaced. Give a folder in it, such as {folder / 'new'}."
        )


def _replace_folder(folder: Path, new: Path) -> None:
    """Replaces a folder by another; the old one is moved aside first, and restored on failure."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if not folder.exists():
        os.rename(new, folder)
        return
    old = new.with_suffix(_REPLACED)
    os.rename(folder, old)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _set_default_permissions(folder: Path) -> None:
    """Sets ordinary permissions on a temporary folder and its files, some of which only the owner could read."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _remove_leftovers(path: Path, suffix: str) -> None:
    """Removes what killed processes left behind when they wrote to `path`."""
    for leftover in _siblings(path, suffix):
        if _is_in_use(leftover):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(OSError):
                leftover.unlink()


def _siblings(path: Path, suffix: str) -> list[Path]:
    """Lists the hidden siblings in which `path` is written, or to which it is moved aside."""
    prefix = f".{path.name}."
    with suppress(OSError):
        names = os.listdir(path.parent)
        return sorted(
            path.parent / name
            for name in names
            if name.startswith(prefix) and name.endswith(suffix) and "." not in name[len(prefix) : -len(suffix)]
        )
    return []


@contextmanager
def _in_use(path: Path) -> Iterator[None]:
    """Marks a file or folder as being written by this process; the mark goes when the process does."""
    lock = lock_path(path)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _is_in_use(path: Path) -> bool:
    """Whether a running process marked a file or folder with `_in_use`; also if that cannot be known."""
    lock = lock_path(path)
    if lock is not None:
        os.close(lock)
    return lock is None
