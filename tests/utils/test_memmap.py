import errno
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest

from bc_sam.errors import BCSamError
from bc_sam.utils.memmap import DiskArray, StackedRows, create_array

STATM = Path("/proc/self/statm")


def resident_pages():
    return int(STATM.read_text().split()[1])


def test_written_rows_are_read_back(tmp_path):
    array = create_array(tmp_path / "a.npy", np.uint8, (6, 2))
    array.write(0, np.full((2, 2), 7, np.uint8))
    array.write(4, np.array([[1, 2], [3, 4]], np.uint8))
    assert array[:].tolist() == [[7, 7], [7, 7], [0, 0], [0, 0], [1, 2], [3, 4]]
    assert array[5].tolist() == [3, 4]
    assert array[np.array([4, 0])].tolist() == [[1, 2], [7, 7]]
    assert (array.shape, array.dtype, len(array)) == ((6, 2), np.uint8, 6)


def test_rows_beyond_n_are_not_exposed(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5))
    array = DiskArray(tmp_path / "a.npy", 3)
    assert array[-1] == 2
    with pytest.raises(IndexError):
        array[3]


class TestComparedToOpenMemmap:
    """The reasons for `DiskArray`; if these tests fail for NumPy, use its memory map instead."""

    ROWS, WIDTH = 64, 2**20

    @pytest.fixture
    def array(self, tmp_path):
        array = create_array(tmp_path / "a.npy", np.uint8, (self.ROWS, self.WIDTH))
        for row in range(self.ROWS):
            array.write(row, np.ones((1, self.WIDTH), np.uint8))
        return array

    def growth(self, array):
        """Bytes by which the resident memory of this process grows while all rows are read."""
        if not STATM.exists():
            pytest.skip("Resident memory is not available on this system.")
        pages = resident_pages()
        assert sum(int(array[row].sum()) for row in range(self.ROWS)) == self.ROWS * self.WIDTH
        return (resident_pages() - pages) * resource.getpagesize()

    def test_pages_that_were_read_do_not_stay_resident(self, array):
        size = self.ROWS * self.WIDTH
        assert self.growth(array) < size / 4
        assert self.growth(np.lib.format.open_memmap(array.path, "r")) > size * 3 / 4

    def test_a_pickle_contains_the_path_and_not_the_array(self, array):
        content = pickle.dumps(array)
        assert len(content) < 1000
        assert pickle.loads(content)[3].tolist() == array[3].tolist()
        assert len(pickle.dumps(np.lib.format.open_memmap(array.path, "r"))) > self.ROWS * self.WIDTH


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="posix_fallocate is not available.")
def test_a_full_disk_is_reported_on_creation(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BCSamError, match="No space left on device"):
        create_array(tmp_path / "a.npy", np.uint8, (6, 2))
    assert not (tmp_path / "a.npy").exists()


class TestStackedRows:
    @pytest.fixture
    def arrays(self, tmp_path):
        """Arrays of three, no and two rows of two values."""
        for name, rows in (("a", 3), ("b", 0), ("c", 2)):
            create_array(tmp_path / f"{name}.npy", np.int64, (rows, 2))
        arrays = [DiskArray(tmp_path / f"{name}.npy", rows) for name, rows in (("a", 3), ("b", 0), ("c", 2))]
        arrays[0].write(0, np.arange(6).reshape(3, 2))
        arrays[2].write(0, np.arange(6, 10).reshape(2, 2))
        return arrays

    @pytest.mark.parametrize(
        "index", [slice(None), 0, 4, -1, slice(1, 4), [4, 0, 4], np.array([False, True, True, True, False])]
    )
    def test_it_is_indexed_as_the_concatenation(self, arrays, index):
        stacked, whole = StackedRows(arrays), np.arange(10).reshape(5, 2)
        assert (stacked.shape, stacked.dtype, len(stacked)) == (whole.shape, whole.dtype, 5)
        assert np.array_equal(stacked[index], whole[index])

    def test_rows_are_chosen_and_repeated_in_any_order(self, arrays):
        stacked = StackedRows(arrays, np.array([4, 0, 4]))
        assert stacked[:, 1].tolist() == [9, 1, 9]
        assert stacked[np.array([2, 1])].tolist() == [[8, 9], [0, 1]]

    def test_rows_beyond_the_end_are_an_error(self, arrays):
        with pytest.raises(IndexError):
            StackedRows(arrays)[5]
