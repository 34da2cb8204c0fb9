"""The state of a job is read from its folder."""

from bc_sam.models.batch.output import OutputFolder
from bc_sam.models.batch.status import Status


def test_complete(finished):
    first, *rest = Status.of(finished).lines()
    assert first.startswith("complete: predict of ")
    assert rest == ["blocks: 6 of 6", "cells: 11 of 11", "without a result: 2"]


def test_interrupted_and_running(finished):
    for path in list(finished.glob("part-*"))[:2]:
        path.unlink()
    lines = Status.of(finished).lines()
    assert lines[0].startswith("interrupted: ")
    assert lines[-1] == "Run the same command again to continue: finished blocks are kept."
    with OutputFolder(finished):
        lines = Status.of(finished).lines()
    assert lines[0].startswith("running: ")
    assert lines[1] == "blocks: 4 of 6"
    assert "engine: local, workers: 1" in lines
    assert lines[-1].startswith("rate: ")
