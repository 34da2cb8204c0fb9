import numpy as np
import pytest

from bc_sam.utils.atomic import is_unfinished, save_array, written_aside


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.json"


def test_a_finished_file_replaces_the_old_one(path):
    path.write_text("old")
    with written_aside(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def write_half(path):
    with written_aside(path) as unfinished:
        unfinished.write_text("half")
        raise OSError("full")


def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(path):
    path.write_text("old")
    with pytest.raises(OSError, match="full"):
        write_half(path)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_kill_leaves_behind_is_hidden_and_recognized(path):
    with written_aside(path) as unfinished:
        unfinished.write_text("half")
        assert is_unfinished(unfinished.name)
    assert not is_unfinished(path.name)


def test_arrays_are_written_without_pickle(tmp_path):
    save_array(np.arange(3), tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="allow_pickle"):
        save_array(np.array([{}]), tmp_path / "b.npy")
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]
