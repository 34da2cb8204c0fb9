"""`predict` and `embed` with an engine write a folder of Parquet files, of which `status` knows the state."""

import pytest
from drawn_smear import draw_smear
from PIL import Image
from pyarrow import parquet
from small_model import small_model
from typer.testing import CliRunner

from bc_sam.cli import app as _registered  # noqa: F401  importing the package registers the commands
from bc_sam.cli.app import app
from bc_sam.cli.exit_status import SOME_UNREADABLE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three cells, one file that is no image, and a model."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "cells").mkdir()
    for seed in range(3):
        Image.fromarray(draw_smear(100, 16, white_cell=33, seed=seed)).save(folder / "cells" / f"{seed}.png")
    (folder / "cells" / "bad.png").write_bytes(b"no image")
    (folder / "cells" / "notes.txt").write_bytes(b"")
    small_model().save_pretrained(folder / "model")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def message(result):
    return str(result.exception) + result.output


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_the_results_and_what_is_said_of_them(folder, tmp_path, command):
    out = tmp_path / "out"
    options = ("--model", folder / "model", "--out", out, "--engine", "local", "--block-size", 3)
    result = run(command, folder / "cells", *options)
    assert result.exit_code == SOME_UNREADABLE, message(result)
    assert result.stdout.splitlines() == [
        f"Written: {out}: 4 cells in 2 files, 1 of them without a result.",
        "Passed over as no images: 1 file (.txt 1).",
    ]
    assert [row["cell_id"] for row in parquet.read_table(out).to_pylist()] == ["0.png", "1.png", "2.png", "bad.png"]
    status = run("status", out)
    assert status.exit_code == 0
    assert status.stdout.splitlines()[0].startswith(f"complete: {command} of {folder / 'cells'} with ")


def test_counting_says_what_was_found(folder, tmp_path):
    out = tmp_path / "out"
    options = ("--model", folder / "model", "--out", out, "--engine", "local", "--block-size", 3)
    result = run("count", folder / "cells", *options)
    assert result.exit_code == SOME_UNREADABLE, message(result)
    assert result.stdout.splitlines()[0] == (
        f"Written: {out}: 3 white cells in 4 fields, 1 of them without a result, 0 read in part only."
    )
    assert "--count-all has no effect" in message(run("count", folder / "cells", *options, "--count-all"))


@pytest.mark.parametrize(
    "options", [("--out", "out"), ("--workers", 2), ("--block-size", 5), ("--ray-address", "auto")], ids=lambda o: o[0]
)
def test_options_of_the_engine_without_one_are_refused(folder, options):
    result = run("predict", folder / "cells", *options)
    assert result.exit_code != 0
    assert f"{options[0]} has no effect without --engine" in message(result)


def test_options_without_effect_on_a_job_are_refused(folder, tmp_path):
    engine = ("--engine", "local", "--out", tmp_path / "out")
    assert "--csv has no effect" in message(run("predict", folder / "cells", *engine, "--csv", tmp_path / "a.csv"))
    assert "Name it with --out" in message(run("predict", folder / "cells", "--engine", "local"))


def test_an_address_at_which_no_cluster_answers(folder, tmp_path):
    pytest.importorskip("ray")
    engine = ("--engine", "ray", "--ray-address", "127.0.0.1:1", "--out", tmp_path / "out")
    result = run("predict", folder / "cells", *engine)
    assert "There is no Ray cluster at 127.0.0.1:1" in message(result)
    assert not (tmp_path / "out").exists()


def test_status_of_another_folder(tmp_path):
    assert "holds no results of --engine" in message(run("status", tmp_path))
