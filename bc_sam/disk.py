"""Arrays on disk that have their room before they are written."""

import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from bc_sam.errors import BCSamError


def create_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """Creates a ``.npy`` file to be filled through memory, with all of its room reserved.

    Without that a full disk would end the process by a signal, in the middle of a write to memory.

    Args:
        path: The file; its folder must exist.
        dtype: Type of the numbers.
        shape: Shape of the array.

    Returns:
        The array, memory-mapped for writing.

    Raises:
        BCSamError: If the disk has no room for it; nothing is left there then.
    """
    array = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
    try:
        if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, max(path.stat().st_size, 1))
    except OSError as error:
        del array
        path.unlink()
        free = shutil.disk_usage(path.parent).free
        needed = np.dtype(dtype).itemsize * int(np.prod(shape))
        raise BCSamError(
            f"{path.parent} needs {needed / 2**30:.1f} GiB for {path.name}, and has {free / 2**30:.1f} GiB free "
            f"({error.strerror}). Free some room, or choose another folder; what is finished is kept."
        ) from error
    return array
