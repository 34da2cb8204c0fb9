"""Signals end a command in order."""

import os
import signal
from contextlib import ExitStack

import pytest

from bc_sam.cli.app import _stopped_in_order


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
