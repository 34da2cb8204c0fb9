"""A path is locked by one process at a time, and free again once that process is gone."""

import os
import subprocess
import sys

import pytest

from bc_sam.utils.path_lock import CAN_LOCK, lock_path

pytestmark = pytest.mark.skipif(not CAN_LOCK, reason="This system cannot lock files and folders by themselves.")

_HOLD = (
    "import sys; from pathlib import Path; from bc_sam.utils.path_lock import lock_path; "
    "print(lock_path(Path(sys.argv[1])) is not None, flush=True); input()"
)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_lock_ends_with_the_process_that_holds_it(tmp_path, kind):
    path = tmp_path
    if kind == "file":
        path = tmp_path / "file"
        path.touch()
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        assert lock_path(path) is None
        other.kill()
    lock = lock_path(path)
    assert lock is not None
    os.close(lock)


def test_what_does_not_exist_is_not_locked(tmp_path):
    assert lock_path(tmp_path / "nothing") is None
