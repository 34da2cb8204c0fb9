"""A small run on rendered cells, shared by all journeys, on the code path of a full run."""

import sys

import pytest
from made_once import copied, made_once
from small_model import small_sam
from small_run import DATA, LOGISTIC_RUN, small_options

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
def small_base(tmp_path_factory):
    """The folder of a SAM of a few hundred kilobytes, the same one for all workers, as runs name it."""
    return made_once(tmp_path_factory, "base", lambda folder: small_sam().save_pretrained(folder))


@pytest.fixture(scope="session")
def train_options(small_base):
    """Returns the arguments of `bc-sam` for a training run of seconds."""
    return lambda out, *more: ["train", "--out", str(out), *small_options(small_base), *more]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory, run_bc_sam, train_options):
    """A finished `bc-sam train` on cells of two rendered laboratories, with every kind of classifier."""

    def train(folder):
        assert run_bc_sam(*train_options(folder, *DATA)) == 0

    return copied(made_once(tmp_path_factory, "run", train), tmp_path_factory)


@pytest.fixture(scope="session")
def logistic_run(tmp_path_factory, run_bc_sam, train_options):
    """The same training with one classifier; see `LOGISTIC_RUN`."""

    def train(folder):
        assert run_bc_sam(*train_options(folder, *LOGISTIC_RUN)) == 0

    return copied(made_once(tmp_path_factory, "logistic_run", train), tmp_path_factory)


@pytest.fixture(scope="session")
def cell_files(tmp_path_factory):
    """Image files of unseen cells: one per class, of one laboratory."""
    from bc_sam.data.datasets.rendered import write_rendered

    folder = tmp_path_factory.mktemp("cells")
    write_rendered(folder, ("munich",), cells_per_class=1, seed=7)
    return sorted((folder / "munich").rglob("*.png"))
