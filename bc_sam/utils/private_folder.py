"""Private temporary folders, which the next process removes if this one is killed."""

import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from bc_sam.utils.path_lock import CAN_LOCK, lock_path

# A folder gets its final name once it is locked, so that no other process takes it for an abandoned one.
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
        made = Path(tempfile.mkdtemp(prefix=_UNLOCKED_PREFIX))
        lock = lock_path(made)
        self.path = made.rename(made.with_name(prefix + made.name.removeprefix(_UNLOCKED_PREFIX)))
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
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if not CAN_LOCK or folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
            continue
        if (lock := lock_path(folder)) is not None:
            _remove(folder, lock)
            removed.append(folder)
    return removed


def _remove(folder: Path, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        with suppress(OSError):
            os.close(lock)
