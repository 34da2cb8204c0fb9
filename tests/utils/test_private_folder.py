"""Private temporary folders go with their owner: when closed, with the last reference, or after a kill."""

import os
import signal
import subprocess
import sys

import pytest
from faults import count_operations, killed_at, watched

from bc_sam.utils.private_folder import PrivateFolder, remove_abandoned


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_folder_is_private_and_removed_when_closed_or_forgotten(tmp_path):
    folder, forgotten = PrivateFolder("cells_"), PrivateFolder("cells_")
    assert folder.path.stat().st_mode & 0o077 == 0
    (folder.path / "cell.png").write_bytes(b"x")
    path = forgotten.path
    del forgotten
    assert not path.exists()
    folder.close()
    folder.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot lock a folder.")
def test_what_a_killed_process_left_behind_is_removed_and_nothing_else(tmp_path):
    script = (
        "import os, signal, sys, tempfile\n"
        "from bc_sam.utils.private_folder import PrivateFolder\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "folder = PrivateFolder('cells_')\n"
        "(folder.path / 'cell.png').write_bytes(b'x')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.glob("cells_*/cell.png")
    in_use = PrivateFolder("cells_")
    (tmp_path / "of_others").mkdir()
    os.symlink(tmp_path / "of_others", tmp_path / "cells_link")
    assert remove_abandoned("cells_") == [left.parent]
    assert in_use.path.exists()
    assert (tmp_path / "of_others").exists()


def test_what_a_kill_leaves_at_each_operation_is_removed(tmp_path):
    n_operations = count_operations(lambda: PrivateFolder("cells_").close(), tmp_path)
    for number in range(n_operations):
        assert killed_at(lambda: PrivateFolder("cells_").close(), tmp_path, number)
        remove_abandoned("cells_")
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_removes_too_early_is_made_again(tmp_path):
    with watched(tmp_path, 1, lambda: remove_abandoned("cells_")):  # between the folder and its final name
        folder = PrivateFolder("cells_")
    assert list(tmp_path.iterdir()) == [folder.path]
    assert remove_abandoned("cells_") == []
