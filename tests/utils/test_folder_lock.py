"""Only one process at a time writes to a folder."""

import logging

import pytest
from other_process import locked_elsewhere

from bc_sam.errors import BCSamError
from bc_sam.utils.folder_lock import FolderLock


def test_a_second_process_is_told_which_one_is_there(tmp_path):
    with (
        locked_elsewhere(tmp_path) as other,
        pytest.raises(BCSamError, match=rf"in use by another run \(process {other.pid} on .*\)\. Try later\."),
    ):
        FolderLock(tmp_path, remedy="Try later.")


def test_a_killed_process_holds_nothing(tmp_path):
    with locked_elsewhere(tmp_path) as other:
        other.kill()
        other.wait()
        with FolderLock(tmp_path) as lock:
            assert lock.is_held


def test_waiting_is_announced_and_ends_with_the_other_process(tmp_path):
    with locked_elsewhere(tmp_path) as other:
        announced = []

        class EndsTheOther(logging.Handler):
            def emit(self, record):
                announced.append(record.getMessage())
                other.kill()

        logger, handler = logging.getLogger("bc_sam.utils.folder_lock"), EndsTheOther()
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            with FolderLock(tmp_path, wait=True) as lock:
                assert lock.is_held
        finally:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
    (message,) = announced
    assert f"process {other.pid}" in message
    assert "Waiting" in message


def test_the_same_process_may_lock_a_folder_repeatedly_however_it_is_spelled(tmp_path):
    (tmp_path / "run").mkdir()
    with FolderLock(tmp_path / "run") as outer:
        with FolderLock(tmp_path / "run" / ".." / "run") as inner:
            assert inner.is_held
        assert outer.is_held
    assert not outer.is_held


def test_a_lock_that_is_not_kept_is_released(tmp_path):
    FolderLock(tmp_path)
    with locked_elsewhere(tmp_path):
        pass
