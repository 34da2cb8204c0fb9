"""A run killed twice and resumed ends with the same bytes as an uninterrupted one."""

import os
import signal
import subprocess
import sys

from small_run import LOGISTIC_RUN

PARTS = ("adapter/adapter_model.safetensors", "autoencoder/model.safetensors", "base/model.safetensors")

#: Runs `bc-sam` with given arguments, and is killed as soon as anything is about to be renamed to a given path.
_KILLED_AT = """
import os, signal, sys
from bc_sam.cli import main

def die(event, arguments):
    if event == "os.rename" and os.fspath(arguments[1]) == place:
        os.kill(os.getpid(), signal.SIGKILL)

place = sys.argv.pop(1)
sys.addaudithook(die)
main()
"""


def kill_at(place, *arguments):
    """Runs a command line in a process that is killed once it has written a checkpoint, but for its name."""
    command = [sys.executable, "-c", _KILLED_AT, str(place), *map(str, arguments)]
    # One thread, as in the process of the tests: sums are rounded in the order of the threads.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_it_ends_with_the_same_bytes(logistic_run, train_options, run_bc_sam, tmp_path, caplog):
    folder = tmp_path / "run"
    work = folder / "work" / "fold-0"
    kill_at(work / "stage-1" / "step-00000006", *train_options(folder, *LOGISTIC_RUN))
    kill_at(work / "stage-2" / "step-00000008", "resume", folder)
    assert run_bc_sam("resume", folder) == 0
    assert "after 6 steps" in caplog.text
    for part in PARTS:
        assert (folder / "model" / part).read_bytes() == (logistic_run / "model" / part).read_bytes()
    assert not list(folder.glob("work/fold-0/stage-*"))


def test_without_a_run_there_is_nothing_to_resume(run_bc_sam, tmp_path, capsys):
    assert run_bc_sam("resume", tmp_path) == 1
    assert "is not a run folder" in capsys.readouterr().err
