"""Private temporary folders, which the next process removes if this one is killed."""

import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from bc_sam.utils.path_lock import CAN_LOCK, lock_path

# A folder gets its final name once it is locked, so that no other process takes it for an abandoned one. Until then it
# is empty, and if another process removes it, it is made again.
_UNLOCKED_PREFIX = ".unlocked_"


class PrivateFolder:
    """A temporary folder that only this user can read; removed when closed, or with the last reference.

    Its lock ends with the process, however that ends; see `remove_abandoned`. In a ``with`` statement it is its path.

    Args:
        prefix: Prefix of its name.

    Example:
        >>> with PrivateFolder("example_") as path:
        ...     path.is_dir()
        True
        >>> path.exists()
        False
    """

    def __init__(self, prefix: str) -> None:
        self.path, lock = _make(prefix)
        self._remove = weakref.finalize(self, _remove, self.path, lock)

    def close(self) -> None:
        """Removes the folder and its files."""
        self._remove()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def remove_abandoned(prefix: str) -> list[Path]:
    """Removes the private folders that processes of this user left behind when they were killed.

    On Windows, which cannot lock a folder, nothing is removed.

    Args:
        prefix: Prefix of their names.

    Returns:
        The removed folders.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_UNLOCKED_PREFIX}{prefix}*"):
        with suppress(OSError):
            folder.rmdir()
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if not CAN_LOCK or folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
            continue
        if (lock := lock_path(folder)) is not None:
            _remove(folder, lock)
            removed.append(folder)
    return removed


def _make(prefix: str) -> tuple[Path, int | None]:
    while True:
        made = Path(tempfile.mkdtemp(prefix=_UNLOCKED_PREFIX + prefix))
        lock = lock_path(made)
        try:
            return made.rename(made.with_name(made.name.removeprefix(_UNLOCKED_PREFIX))), lock
        except FileNotFoundError:
            if lock is not None:
                os.close(lock)


def _remove(folder: Path, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        with suppress(OSError):
            os.close(lock)
