"""Signals end a command in order, and a full disk with a sentence."""

import errno
import os
import signal
import sys
from contextlib import ExitStack

import pytest

from bc_sam.cli.app import _stopped_in_order, run


def stop_within(number, clean_up):
    with _stopped_in_order(), ExitStack() as stack:
        stack.callback(clean_up)
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_like_an_interruption_so_that_it_cleans_up(number, capsys):
    cleaned = []
    with pytest.raises(SystemExit) as end:
        stop_within(number, lambda: cleaned.append(True))
    assert cleaned
    assert end.value.code == 128 + number
    assert capsys.readouterr().err == f"Stopped by {signal.Signals(number).name}.\n"
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _stopped_in_order():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_says_what_to_do(number, monkeypatch, capsys, tmp_path):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(
        sys, "argv", ["bc-sam", "render", f"{tmp_path}/cells", "--cells-per-class", "1", "--laboratory", "munich"]
    )
    with pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: [Errno {number}]")
    assert said.endswith("Free some space, then run the command again.")
    assert list(tmp_path.iterdir()) == []
