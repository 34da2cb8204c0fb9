"""`predict` and `embed` print the scale that the images share, and take it from the command line."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from drawn_smear import draw_smear
from PIL import Image
from small_model import small_model
from typer.testing import CliRunner

from bc_sam.cli import app as _registered  # noqa: F401  importing the package registers the commands
from bc_sam.cli.app import app
from bc_sam.cli.exit_status import SOME_UNREADABLE
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.errors import ConfigError


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    for seed in range(3):
        Image.fromarray(draw_smear(200, 33, white_cell=66, seed=seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folders of a model that normalizes images, and of one that does not."""
    folder = tmp_path_factory.mktemp("models")
    small_model(normalization=NormalizationConfig(30.0)).save_pretrained(folder / "normalized")
    small_model().save_pretrained(folder / "square")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_measured_scale_is_printed(cells, models):
    result = run("predict", cells, "--model", models / "normalized")
    assert result.exit_code == 0
    assert "scale: 0.2" in result.stderr
    assert "µm per pixel by red cells (3 of 3 images measured)." in result.stderr
    assert "scale" not in run("predict", cells, "--model", models / "square").stderr


def test_a_given_scale_is_used(cells, models):
    result = run("predict", cells, "--model", models / "normalized", "--microns-per-pixel", 0.25)
    assert "scale: 0.25 µm per pixel as given." in result.stderr


def test_a_model_that_does_not_normalize_says_that_it_has_no_effect(cells, models):
    result = run("predict", cells, "--model", models / "square", "--microns-per-pixel", 0.25)
    assert result.exit_code == 0
    assert "--microns-per-pixel has no effect" in result.stderr


def test_a_single_image_works(cells, models):
    assert run("predict", cells / "0.png", "--model", models / "normalized").exit_code == 0


@pytest.mark.parametrize("images", ["", "0.png"])
def test_an_implausible_scale_is_rejected(cells, models, images):
    result = run("predict", cells / images, "--model", models / "normalized", "--microns-per-pixel", 7.5)
    assert result.exit_code != 0
    assert "microns_per_pixel must be between" in str(result.exception) + result.output


def test_embeddings_are_those_of_the_given_scale(cells, models, tmp_path):
    model = small_model(normalization=NormalizationConfig(30.0))
    files = sorted(cells.iterdir())
    for options, size in (((), None), (("--microns-per-pixel", 0.25), 0.25)):
        inputs = (cells, "--out", tmp_path / "e.npz", "--model", models / "normalized", "--dtype", "float32")
        assert run("embed", *inputs, *options).exit_code == 0
        written = np.load(tmp_path / "e.npz")["latents"]
        np.testing.assert_allclose(written, model.embed(files, microns_per_pixel=size), atol=1e-4)


def test_file_names_that_cannot_be_shown_end_neither_a_run_nor_its_csv(cells, models, tmp_path):
    folder = tmp_path / "cells"
    folder.mkdir()
    content = (cells / "0.png").read_bytes()
    for name in (b"\xff\xfe.png", "画.png".encode(), b"a\n\x1b[31m.png"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)
    (folder / "=1+2.png").write_bytes(b"no image")
    command = [sys.executable, "-m", "bc_sam", "predict", folder, "--model", models / "square"]
    finished = subprocess.run(
        [*command, "--csv", tmp_path / "table.csv"],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii:strict"},
    )
    assert finished.returncode == SOME_UNREADABLE, finished.stderr
    assert b"cell/s" not in finished.stderr  # no progress bar where there is no terminal
    assert b"\x1b[31m" not in finished.stdout + finished.stderr
    assert sum(line.startswith(os.fsencode(folder)) for line in finished.stdout.splitlines()) == 4
    rows = list(csv.DictReader((tmp_path / "table.csv").open(newline="", encoding="utf-8")))
    names = {Path(row["file"]).name for row in rows}
    assert names == {"\\udcff\\udcfe.png", "画.png", "a\n\x1b[31m.png", "=1+2.png"}


def test_rows_of_embeddings_have_a_name_each_and_need_no_pickle(models, cells, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    images = [{"bytes": file.read_bytes(), "path": None} for file in sorted(cells.iterdir())]
    path = tmp_path / "cells.parquet"
    datasets.Dataset.from_dict({"image": images}, features=datasets.Features(image=datasets.Image())).to_parquet(path)
    assert run("embed", path, "--out", tmp_path / "e.npz", "--model", models / "square").exit_code == 0
    with np.load(tmp_path / "e.npz") as stored:
        assert stored["files"].tolist() == [f"{path}[{row}]" for row in range(3)]


class TestExitStatus:
    """0 if all images were read, 3 if some could not be, 1 if none could be."""

    @pytest.fixture
    def folder(self, cells, tmp_path):
        """Two images of cells, of which one is damaged, and three files that are no images."""
        folder = tmp_path / "mixed"
        folder.mkdir()
        (folder / "good.png").write_bytes((cells / "0.png").read_bytes())
        (folder / "bad.png").write_bytes(b"")
        for name in ("a.xml", "b.xml", "README"):
            (folder / name).write_text("no image")
        return folder

    @pytest.mark.parametrize("command", ["predict", "embed"])
    def test_it_tells_whether_some_or_all_images_were_unreadable(self, command, folder, models, tmp_path):
        options = ("--model", models / "square", *(("--out", tmp_path / "e.npz") if command == "embed" else ()))
        assert run(command, folder / "good.png", *options).exit_code == 0
        assert run(command, folder, *options).exit_code == SOME_UNREADABLE == 3
        assert run(command, folder / "bad.png", *options).exit_code == 1

    def test_what_was_passed_over_is_counted(self, folder, models):
        lines = run("predict", folder, "--model", models / "square").stderr.splitlines()
        assert lines[-2:] == [
            "1 of 2 images could not be read.",
            "Passed over as no images: 3 files (.xml 2, without suffix 1).",
        ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("none/cells.csv", "is in a folder that does not exist. Create"),
        (".", "is a folder. Name a file in it."),
    ],
)
def test_a_table_that_cannot_be_written_is_an_error_before_any_work(table, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(f"--csv {table} {message}")):  # the absent cells come later
        CliRunner().invoke(app, ["predict", "absent.png", "--csv", table], catch_exceptions=False)


def test_a_table_may_be_a_device(cells, models):
    result = run("predict", cells / "0.png", "--model", models / "square", "--csv", os.devnull)
    assert result.exit_code == 0
