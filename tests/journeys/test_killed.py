"""A run killed twice and resumed ends with the same bytes as an uninterrupted one."""

import signal
import time

from small_run import LOGISTIC_RUN, train_options

PARTS = ("adapter/adapter_model.safetensors", "autoencoder/model.safetensors", "base/model.safetensors")


def kill_at(process, folder, pattern):
    """Kills a process as soon as a checkpoint is there."""
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_it_ends_with_the_same_bytes(logistic_run, start_bc_sam, tmp_path):
    folder = tmp_path / "run"
    kill_at(start_bc_sam(*train_options(folder, *LOGISTIC_RUN)), folder, "work/fold-0/stage-1/step-*4")
    kill_at(start_bc_sam("resume", folder), folder, "work/fold-0/stage-2/step-*8")
    process = start_bc_sam("resume", folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "after 8 steps" in errors
    for part in PARTS:
        assert (folder / "model" / part).read_bytes() == (logistic_run / "model" / part).read_bytes()
    assert not list(folder.glob("work/fold-0/stage-*"))


def test_without_a_run_there_is_nothing_to_resume(run_bc_sam, tmp_path, capsys):
    assert run_bc_sam("resume", tmp_path) == 1
    assert "is not a run folder" in capsys.readouterr().err
