"""Arrays on disk: written with their room reserved, read without filling the memory."""

import os
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from bc_sam.errors import BCSamError


def create_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> "DiskArray":
    """Creates a ``.npy`` file to be filled, with all of its room reserved.

    Without that a full disk would end the process by a signal, in the middle of a write to memory.

    Args:
        path: The file; its folder must exist.
        dtype: Type of the numbers.
        shape: Shape of the array.

    Returns:
        The array, to be written.

    Raises:
        BCSamError: If the disk has no room for it; nothing is left there then.
    """
    np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
    try:
        if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, max(path.stat().st_size, 1))
    except OSError as error:
        path.unlink()
        free = shutil.disk_usage(path.parent).free
        needed = np.dtype(dtype).itemsize * int(np.prod(shape))
        raise BCSamError(
            f"{path.parent} needs {needed / 2**30:.1f} GiB for {path.name}, and has {free / 2**30:.1f} GiB free "
            f"({error.strerror}). Free some room, or choose another folder; what is finished is kept."
        ) from error
    return DiskArray(path, shape[0])


class DiskArray:
    """The first rows of an array in a ``.npy`` file. As of a NumPy array, an index gives what it selects, copied.

    The file is mapped anew at each look, so the memory in use does not grow with what has been read.

    Args:
        path: The file.
        n: Rows that count; the file may hold more.

    Attributes:
        shape: Shape of the rows that count, all together.
        dtype: Type of the numbers.
    """

    def __init__(self, path: Path, n: int) -> None:
        self.path = path
        self.n = n
        whole = self._map()
        self.shape = whole.shape
        self.dtype = whole.dtype

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.array(self._map()[index])

    def write(self, start: int, values: np.ndarray) -> None:
        """Writes rows from `start` on."""
        self._map("r+")[start : start + len(values)] = values

    def _map(self, mode: Literal["r", "r+"] = "r") -> np.ndarray:
        return np.load(self.path, mmap_mode=mode)[: self.n]
