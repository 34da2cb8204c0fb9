"""Locks on files and folders themselves, which end with the process that holds them."""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Whether this system can lock a file or folder by itself; Windows cannot.
CAN_LOCK = fcntl is not None


def lock_path(path: Path) -> int | None:
    """Locks a file or folder without waiting.

    Args:
        path: An existing file or folder.

    Returns:
        The descriptor that holds the lock until it is closed; ``None`` if another process holds it, or the path or its
        file system cannot be locked.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first, second = lock_path(Path(folder)), lock_path(Path(folder))
        ...     os.close(first)
        >>> second is None
        True
    """
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
