"""`count` goes from fields to a differential count, keeps what it found, and goes on after a bad file."""

import json

import pytest
from drawn_smear import draw_smear
from PIL import Image
from typer.testing import CliRunner

from bc_sam.cli import app as _registered  # noqa: F401  importing the package registers the commands
from bc_sam.cli.app import app
from bc_sam.cli.exit_status import SOME_UNREADABLE


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    for seed in (1, 2):
        smear = draw_smear(400, 60, 12, ((0.4, 0.5),), 104, seed=seed)
        Image.fromarray(smear).save(folder / f"{seed}.png")
    (folder / "bad.png").write_bytes(b"no image")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["count", *map(str, arguments)])


@pytest.fixture(scope="module")
def counted(fields, tmp_path_factory):
    out = tmp_path_factory.mktemp("count") / "out"
    return out, run(fields, "--out", out, "--no-abstain")


def test_cells_are_counted_by_field_and_in_all(fields, counted):
    _, result = counted
    assert result.exit_code == SOME_UNREADABLE
    assert f"{fields / '1.png'}: 1 white cell (1 " in result.stdout
    assert "Differential count of 2 white cells (95 % confidence interval)" in result.stdout
    assert "white cells per 100 red cells" in result.stdout


def test_a_bad_file_is_named_and_does_not_stop_the_others(fields, counted):
    assert f"not read: {fields / 'bad.png'}" in counted[1].stderr


def test_the_folder_has_pictures_crops_and_tables(counted):
    out, _ = counted
    assert len(list((out / "pictures").glob("*.jpg"))) == 2
    assert len(list((out / "crops").glob("*_0001.png"))) == 2
    assert len(list((out / "qupath").glob("*.geojson"))) == 2
    assert len((out / "cells.csv").read_text().splitlines()) == 3
    coco = json.loads((out / "coco.json").read_text())
    assert (len(coco["images"]), len(coco["annotations"])) == (2, 2)


def test_a_second_run_keeps_finished_fields(fields, counted):
    out, first = counted
    kept = sorted((out / "records").iterdir())
    kept[1].unlink()  # as if the first run had been killed before it
    changed = kept[0].stat().st_mtime_ns
    again = run(fields, "--out", out, "--no-abstain")
    assert "1 of 2 fields were finished before and kept." in again.stderr
    assert kept[0].stat().st_mtime_ns == changed
    assert again.stdout == first.stdout


def test_results_of_other_settings_are_not_mixed(fields, counted):
    result = run(fields, "--out", counted[0])
    assert result.exit_code == 1
    assert "other settings (abstain)" in str(result.exception)


def test_a_folder_with_other_files_is_left_alone(fields):
    result = run(fields, "--out", fields)
    assert "holds other files" in str(result.exception)
