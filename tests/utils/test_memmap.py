import errno
import os
import pickle
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


class TestWhyNotNumpysOwnMap:
    """What `DiskArray` is there for; where NumPy's map does as well, it can go."""

    ROWS, WIDTH = 64, 2**20

    @pytest.fixture
    def array(self, tmp_path):
        array = create_array(tmp_path / "a.npy", np.uint8, (self.ROWS, self.WIDTH))
        for row in range(self.ROWS):
            array.write(row, np.ones((1, self.WIDTH), np.uint8))
        return array

    def grown(self, array):
        """Bytes by which the memory of this process grows while all rows are read."""
        if not STATM.exists():
            pytest.skip("This system does not tell how much memory is in use.")
        pages = resident_pages()
        assert sum(int(array[row].sum()) for row in range(self.ROWS)) == self.ROWS * self.WIDTH
        return (resident_pages() - pages) * resource.getpagesize()

    def test_what_was_read_does_not_stay_in_memory(self, array):
        whole = self.ROWS * self.WIDTH
        assert self.grown(array) < whole / 4
        assert self.grown(np.lib.format.open_memmap(array.path, "r")) > whole * 3 / 4

    def test_a_pickle_holds_the_path_and_not_the_array(self, array):
        content = pickle.dumps(array)
        assert len(content) < 1000
        assert pickle.loads(content)[3].tolist() == array[3].tolist()
        assert len(pickle.dumps(np.lib.format.open_memmap(array.path, "r"))) > self.ROWS * self.WIDTH


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="Room cannot be reserved on this system.")
def test_a_full_disk_is_reported_before_anything_is_computed(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BCSamError, match="No space left on device"):
        create_array(tmp_path / "a.npy", np.uint8, (6, 2))
    assert not (tmp_path / "a.npy").exists()
