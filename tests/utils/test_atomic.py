import numpy as np
import pytest

from bc_sam.errors import BCSamError
from bc_sam.utils.atomic import (
    folder_written_aside,
    is_unfinished,
    load_array,
    recover_folder,
    save_array,
    written_aside,
)


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


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text"])
def test_a_damaged_array_is_reported_with_what_to_do(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(BCSamError, match=r"a\.npy is missing or damaged .*Delete it\."):
        load_array(tmp_path / "a.npy", "Delete it.")


def test_what_a_killed_process_left_behind_is_removed_by_the_next(path):
    (path.parent / ".state.json.99.part").write_text("half")
    (path.parent / ".other.json.99.part").write_text("of another file")
    with written_aside(path) as unfinished:
        unfinished.write_text("new")
    assert {file.name for file in path.parent.iterdir()} == {"state.json", ".other.json.99.part"}


def test_what_is_being_written_is_not_removed(path):
    with written_aside(path) as first:
        first.write_text("first")
        mine = first.rename(first.with_name(".state.json.99.part"))  # as if of another process
        with written_aside(path) as second:
            second.write_text("second")
        assert mine.read_text() == "first"
        mine.rename(first)
    assert path.read_text() == "first"


def test_links_are_followed_and_devices_written_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_text("old")
    with written_aside(tmp_path / "link") as unfinished:
        unfinished.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    with written_aside("/dev/null") as device:
        device.write_text("nowhere")


class TestFolders:
    @pytest.fixture
    def interrupted(self, tmp_path):
        """What a kill leaves between the two steps of replacing a folder by a new one."""
        for name, content in ((".model.a.part", "new"), (".model.a.old", "old")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text(content)
        return tmp_path / "model"

    def test_an_interrupted_replacement_is_completed_and_reported(self, interrupted, caplog):
        recover_folder(interrupted)
        assert (interrupted / "file").read_text() == "new"
        assert [path.name for path in interrupted.parent.iterdir()] == ["model"]
        assert "completed" in caplog.text

    def test_the_old_folder_returns_if_the_new_one_is_lost(self, interrupted):
        (interrupted.parent / ".model.a.part" / "file").unlink()
        (interrupted.parent / ".model.a.part").rmdir()
        recover_folder(interrupted)
        assert (interrupted / "file").read_text() == "old"

    def test_the_next_replacement_starts_from_there(self, interrupted):
        with folder_written_aside(interrupted) as unfinished:
            assert (interrupted / "file").read_text() == "new"
            (unfinished / "file").write_text("newest")
        assert (interrupted / "file").read_text() == "newest"
        assert [path.name for path in interrupted.parent.iterdir()] == ["model"]

    def test_a_folder_that_another_process_wrote_in_the_meantime_is_kept_if_asked(self, tmp_path):
        with folder_written_aside(tmp_path / "cells", keep_existing=True) as unfinished:
            (unfinished / "mine").touch()
            (tmp_path / "cells").mkdir()
            (tmp_path / "cells" / "theirs").touch()
        assert [path.name for path in tmp_path.rglob("*")] == ["cells", "theirs"]


def test_the_current_folder_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (".", tmp_path):
        with pytest.raises(BCSamError, match="is the current folder, which cannot be replaced"):
            with_content(folder)
    assert list(tmp_path.iterdir()) == []


def test_where_a_disk_is_mounted_is_refused():
    with pytest.raises(BCSamError, match="where a disk is mounted"):
        with_content("/proc")


def with_content(folder):
    with folder_written_aside(folder) as part:
        (part / "file").write_text("content")
