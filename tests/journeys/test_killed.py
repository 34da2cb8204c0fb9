"""A run killed twice and resumed ends with the same bytes as an uninterrupted one."""

import os
import signal
import subprocess
import sys
import time

import pytest
from made_once import made_once
from small_run import DATA, ONE_CLASSIFIER, train_options

PARTS = ("adapter/adapter_model.safetensors", "autoencoder/model.safetensors", "base/model.safetensors")


def options(folder):
    return train_options(folder, *DATA, *ONE_CLASSIFIER, "--set", "checkpoint_steps=2")


def start(*arguments):
    # One thread, as in the process that made the other run: sums are rounded in the order of the threads.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bc_sam", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill_at(process, folder, pattern):
    """Kills a process as soon as a checkpoint is there."""
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def single_threaded_run(tmp_path_factory):
    def train(folder):
        process = start(*options(folder))
        assert process.wait(300) == 0, process.stderr.read()

    return made_once(tmp_path_factory, "single_threaded", train)


def test_it_ends_with_the_same_bytes(single_threaded_run, tmp_path):
    folder = tmp_path / "run"
    kill_at(start(*options(folder)), folder, "work/fold-0/stage-1/step-*4")
    kill_at(start("resume", folder), folder, "work/fold-0/stage-2/step-*8")
    process = start("resume", folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "after 8 steps" in errors
    for part in PARTS:
        assert (folder / "model" / part).read_bytes() == (single_threaded_run / "model" / part).read_bytes()
    assert not list(folder.glob("work/fold-0/stage-*"))


def test_without_a_run_there_is_nothing_to_resume(run_bc_sam, tmp_path, capsys):
    assert run_bc_sam("resume", tmp_path) == 1
    assert "is not a run folder" in capsys.readouterr().err
