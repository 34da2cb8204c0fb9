import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from bc_sam.errors import BCSamError
from bc_sam.utils.memmap import DiskArray, create_array

STATM = Path("/proc/self/statm")


def resident_pages():
    return int(STATM.read_text().split()[1])


def test_what_is_written_is_read_back(tmp_path):
    array = create_array(tmp_path / "a.npy", np.uint8, (6, 2))
    array.write(0, np.full((2, 2), 7, np.uint8))
    array.write(4, np.array([[1, 2], [3, 4]], np.uint8))
    assert array[:].tolist() == [[7, 7], [7, 7], [0, 0], [0, 0], [1, 2], [3, 4]]
    assert array[5].tolist() == [3, 4]
    assert array[np.array([4, 0])].tolist() == [[1, 2], [7, 7]]
    assert (array.shape, array.dtype, len(array)) == ((6, 2), np.uint8, 6)


def test_only_the_rows_that_count_are_seen(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5))
    array = DiskArray(tmp_path / "a.npy", 3)
    assert array[-1] == 2
    with pytest.raises(IndexError):
        array[3]


def test_reading_all_of_a_large_array_takes_little_memory(tmp_path):
    rows, width = 64, 2**20
    array = create_array(tmp_path / "a.npy", np.uint8, (rows, width))
    for row in range(rows):
        array.write(row, np.ones((1, width), np.uint8))
    if not STATM.exists():
        pytest.skip("This system does not tell how much memory is in use.")
    pages = resident_pages()
    assert sum(int(array[row].sum()) for row in range(rows)) == rows * width
    grown = (resident_pages() - pages) * resource.getpagesize()
    assert grown < rows * width / 4


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="Room cannot be reserved on this system.")
def test_a_full_disk_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BCSamError, match="No space left on device"):
        create_array(tmp_path / "a.npy", np.uint8, (6, 2))
    assert not (tmp_path / "a.npy").exists()
