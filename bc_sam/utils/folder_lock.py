"""Keeps two processes from writing to the same folder."""

import logging
import os
import socket
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from bc_sam.errors import BCSamError
from bc_sam.utils.path_lock import lock_path

logger = logging.getLogger(__name__)

#: Name of the lock file in a locked folder. It stays there, empty of meaning unless a process holds it.
LOCK = ".lock"


class FolderLock:
    """A lock on a folder, which this process holds until it is released, collected, or the process ends or is killed.

    The same process may lock a folder repeatedly; it is free once every lock is released.

    Args:
        folder: The folder; created with its parents if it does not exist.
        wait: Whether to wait for another process that holds the lock, which is logged, instead of failing.
        remedy: What to do if another process holds it, for the error message.

    Raises:
        BCSamError: If another process holds the lock, unless `wait` is set.

    Example:
        >>> from tempfile import mkdtemp
        >>> with FolderLock(mkdtemp()) as lock:
        ...     lock.is_held
        True
    """

    def __init__(
        self, folder: Path | str, *, wait: bool = False, remedy: str = "Wait until it has finished, or choose another."
    ) -> None:
        folder = Path(folder).resolve()  # one lock however the path is spelled
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOCK
        self._lock = FileLock(path, is_singleton=True)
        try:
            self._acquire(path, folder, wait, remedy)
        except OSError as error:  # file systems without locks, such as some network drives
            if isinstance(error, PermissionError) or not folder.is_dir():
                raise
            logger.warning("%s cannot be locked (%s). Do not start a second run in it.", folder, error)
        self._finalizer = weakref.finalize(self, self._lock.release)

    def _acquire(self, path: Path, folder: Path, wait: bool, remedy: str) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            holder = _read_holder(path)
            if not wait:
                raise BCSamError(f"{folder} is in use by another run ({holder}). {remedy}") from None
            logger.info("%s is in use by another run (%s). Waiting until it has finished.", folder, holder)
            self._lock.acquire()
        with suppress(OSError):  # for messages only
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}")

    @property
    def is_held(self) -> bool:
        """Whether this process holds the lock."""
        return self._finalizer.alive and self._lock.is_locked

    def release(self) -> None:
        """Releases the lock, unless that was done before."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def is_locked(folder: Path | str) -> bool:
    """Whether a process holds the lock on a folder, without taking it; also if that cannot be known.

    Example:
        >>> from tempfile import mkdtemp
        >>> is_locked(mkdtemp())
        False
    """
    path = Path(folder) / LOCK
    if not path.exists():
        return False
    lock = lock_path(path)
    if lock is None:
        return True
    os.close(lock)
    return False


def _read_holder(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        if holder := path.read_text():
            return holder
    return "process unknown"
