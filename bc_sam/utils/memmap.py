"""Arrays on disk, with disk space reserved on creation and constant memory on reading."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from bc_sam.errors import BCSamError


def create_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> "DiskArray":
    """Creates a ``.npy`` file of zeros with all of its disk space reserved.

    Without the reservation, a full disk would kill the process with a signal during a write to mapped memory.

    Args:
        path: The file; its folder must exist.
        dtype: Data type.
        shape: Shape of the array.

    Returns:
        The writable array.

    Raises:
        BCSamError: If the disk is full. The file is removed.
    """
    try:
        np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
        if hasattr(os, "posix_fallocate"):  # unavailable on macOS and Windows
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, max(path.stat().st_size, 1))
    except OSError as error:
        path.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free
        needed = np.dtype(dtype).itemsize * int(np.prod(shape))
        raise BCSamError(
            f"{path.name} needs {needed / 2**30:.1f} GiB in {path.parent}, which has {free / 2**30:.1f} GiB free "
            f"({error.strerror}). Free some space or choose another folder; completed work is kept."
        ) from error
    return DiskArray(path, shape[0])


class DiskArray:
    """The first `n` rows of an array in a ``.npy`` file. Indexing works as in NumPy and returns a copy.

    `np.lib.format.open_memmap` is insufficient for two reasons, which the tests demonstrate. An open memory map keeps
    every page read so far in the resident memory of the process; this class maps the file again for each access, in
    0.1 ms. And pickling a memory map for the worker processes of a data loader copies the whole array; this class
    pickles the path.

    Args:
        path: The file.
        n: Number of rows to expose; the file may have more.

    Attributes:
        shape: Shape of the exposed array, (n, ...).
        dtype: Data type.
    """

    def __init__(self, path: Path, n: int) -> None:
        self.path = path
        self.n = n
        mapped = self._map()
        self.shape = mapped.shape
        self.dtype = mapped.dtype

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.array(self._map()[index])

    def write(self, start: int, values: np.ndarray) -> None:
        """Writes rows beginning at index `start`."""
        self._map("r+")[start : start + len(values)] = values

    def sync(self) -> None:
        """Flushes what was written to the disk."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())

    def _map(self, mode: Literal["r", "r+"] = "r") -> np.ndarray:
        return np.load(self.path, mmap_mode=mode)[: self.n]


class StackedRows:
    """Chosen rows of several arrays on disk, as one array. Indexing works as in NumPy and returns a copy.

    Args:
        arrays: The arrays, of the same type and the same shape of a row.
        rows: (n,) int64, the rows, counted through all arrays; ``None`` for all of them.

    Attributes:
        shape: Shape of the whole, (n, ...).
        dtype: Data type.

    Example:
        >>> from tempfile import mkdtemp
        >>> arrays = [create_array(Path(mkdtemp()) / "a.npy", "u1", (2, 3)) for _ in range(2)]
        >>> arrays[1].write(0, np.full((1, 3), 7, "u1"))
        >>> StackedRows(arrays, np.array([2, 0]))[:, 0].tolist()
        [7, 0]
    """

    def __init__(self, arrays: "Sequence[DiskArray | StackedRows]", rows: np.ndarray | None = None) -> None:
        self._arrays = tuple(arrays)
        self._starts = np.cumsum([0, *map(len, arrays[:-1])])
        self._rows = np.arange(sum(map(len, arrays))) if rows is None else rows
        self.shape: tuple[int, ...] = (len(self._rows), *arrays[0].shape[1:])
        self.dtype: np.dtype[Any] = arrays[0].dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        rows = self._rows[first]
        chosen = self._read(np.atleast_1d(rows))
        return np.asarray(chosen[(slice(None) if np.ndim(rows) else 0, *rest)])

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Returns rows, counted through all arrays, of which each is opened once."""
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(numbers):
            places = numbers == number
            values[places] = self._arrays[number][rows[places] - self._starts[number]]
        return values


#: An array on disk, in one file or in several.
StoredArray = DiskArray | StackedRows
