"""Arrays on disk: their space is reserved when they are created, and reading them does not fill the memory."""

import os
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from bc_sam.errors import BCSamError


def create_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> "DiskArray":
    """Creates a ``.npy`` file to be filled, with all of its disk space reserved.

    Otherwise a full disk would kill the process by a signal, in the middle of a write to mapped memory.

    Args:
        path: The file; its folder must exist.
        dtype: Type of the numbers.
        shape: Shape of the array.

    Returns:
        The array, to be written.

    Raises:
        BCSamError: If the disk has no space for it; nothing is left there then.
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
            f"({error.strerror}). Free some space, or choose another folder; what is finished is kept."
        ) from error
    return DiskArray(path, shape[0])


class DiskArray:
    """The first rows of an array in a ``.npy`` file. As with a NumPy array, an index gives what it selects, copied.

    NumPy's own memory map (`np.lib.format.open_memmap`) would do but for two things, which its tests show. Kept open,
    it counts every page that was ever read towards the memory of the process; here the file is mapped anew for each
    access, in 0.1 ms. And a data set that is pickled for the worker processes of a data loader would take the whole
    array along; here it takes the path.

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
