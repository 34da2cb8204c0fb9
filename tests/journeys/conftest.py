"""A small run on rendered cells, shared by all journeys, on the code path of a full run."""

import os
import subprocess
import sys

import pytest
from made_once import copied, made_once
from small_run import DATA, LOGISTIC_RUN, train_options

from bc_sam.cli import main


@pytest.fixture(scope="session")
def run_bc_sam():
    """Runs a command line in this process, as the console script does, and returns its exit status."""

    def run(*arguments):
        before = sys.argv
        sys.argv = ["bc-sam", *map(str, arguments)]
        try:
            main()
        except SystemExit as end:
            return end.code or 0
        finally:
            sys.argv = before
        return 0

    return run


@pytest.fixture(scope="session")
def start_bc_sam():
    """Starts a command line in a process of its own, which is returned."""

    def start(*arguments):
        # One thread, as in the process of the tests: sums are rounded in the order of the threads.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "bc_sam", *map(str, arguments)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory, run_bc_sam):
    """A finished `bc-sam train` on cells of two rendered laboratories, with every kind of classifier."""

    def train(folder):
        assert run_bc_sam(*train_options(folder, *DATA)) == 0

    return copied(made_once(tmp_path_factory, "run", train), tmp_path_factory)


@pytest.fixture(scope="session")
def logistic_run(tmp_path_factory, start_bc_sam):
    """The same training in a process of its own, with one classifier; see `LOGISTIC_RUN`."""

    def train(folder):
        process = start_bc_sam(*train_options(folder, *LOGISTIC_RUN))
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors

    return copied(made_once(tmp_path_factory, "logistic_run", train), tmp_path_factory)


@pytest.fixture(scope="session")
def cell_files(tmp_path_factory):
    """Image files of unseen cells: one per class, of one laboratory."""
    from bc_sam.data.datasets.rendered import write_rendered

    folder = tmp_path_factory.mktemp("cells")
    write_rendered(folder, ("munich",), cells_per_class=1, seed=7)
    return sorted((folder / "munich").rglob("*.png"))
