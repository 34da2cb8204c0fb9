"""Counting jobs have one row for each field and one for each cell in it, however often they were interrupted."""

import zipfile
from dataclasses import replace

import datasets
import pytest
from drawn_smear import draw_smear
from PIL import Image
from pyarrow import parquet

from bc_sam.data.blocks.block import BlockCell
from bc_sam.errors import BCSamError, ConfigError, DataError
from bc_sam.models.auto import load_model
from bc_sam.models.batch import CellPredictor, count
from bc_sam.models.batch.field_rows import count_fields, field_columns
from bc_sam.models.batch.output import read_manifest
from bc_sam.models.batch.rows import Counts
from bc_sam.models.batch.status import Status
from bc_sam.models.fields import profile_fields
from bc_sam.models.found_cells import FieldCells

COUNTS = Counts(blocks=3, cells=3, errors=2, fields=5)


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Two fields of one white cell, a file that is no image, a link that leads nowhere, and a field in a zip."""
    folder = tmp_path_factory.mktemp("fields") / "source"
    folder.mkdir()
    for seed in (1, 2):
        Image.fromarray(draw_smear(400, 60, 12, ((0.4, 0.5),), 104, seed=seed)).save(folder / f"{seed}.png")
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.write(folder / "1.png", "copy.png")
    (folder / "bad.png").write_bytes(b"no image")
    (folder / "broken.png").symlink_to("nowhere.png")
    return folder


@pytest.fixture(scope="module")
def options(model_folder):
    return {"model": str(model_folder), "block_size": 2, "dtype": "float32", "platelets": True, "abstain": False}


@pytest.fixture(scope="module")
def counted(fields, options, tmp_path_factory):
    """The results of an unbroken job."""
    out = tmp_path_factory.mktemp("counted") / "out"
    count(str(fields), out, **options)
    return out


def rows(out, table):
    return parquet.read_table(out / table).to_pylist()


def parts(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.glob("*/part-*.parquet"))}


def test_the_rows_are_what_the_model_finds(fields, counted, model_folder):
    model = load_model(model_folder, dtype="float32")
    profile = profile_fields([fields / "1.png", fields / "2.png", fields / "1.png"])
    found_rows = {row["cell_id"]: row for row in rows(counted, "cells")}
    assert list(found_rows) == ["1.png#1", "2.png#1", "more.zip/copy.png#1"]
    for name in ("1.png", "2.png"):
        found = model.find_cells(
            fields / name, red_cells=True, platelets=True, name=True, abstain=False, profile=profile
        )
        (cell,) = found.cells
        row = found_rows[f"{name}#1"]
        assert (row["field"], row["source"], tuple(row["box"])) == (name, str(fields / name), cell.box)
        assert (row["name"], row["likeliest"]) == (cell.prediction.label, cell.prediction.likeliest)
        assert row["probability"] == pytest.approx(cell.prediction.probability, abs=1e-4)
        assert row["embedding"] == pytest.approx(cell.prediction.latent, abs=1e-4)
        (field,) = (row for row in rows(counted, "fields") if row["field"] == name)
        assert (field["white_cells"], field["red_cells"]) == (1, len(found.red_cells))
        assert (field["platelets"], field["height"], field["complete"]) == (len(found.platelets), 400, True)
        assert field["microns_per_pixel"] == pytest.approx(profile.scale.microns_per_pixel)


def test_a_bad_field_is_a_row_with_its_reason_only(counted):
    found = {row["field"]: row for row in rows(counted, "fields")}
    assert len(found) == 5
    assert "is not an image of a known format" in found["bad.png"]["error"]
    assert "broken.png cannot be read: No such file or directory." in found["broken.png"]["error"]
    for name in ("bad.png", "broken.png"):
        assert {key for key, value in found[name].items() if value is not None} == {"field", "source", "error"}


def test_what_is_known_of_the_job(counted):
    assert read_manifest(counted).counts == COUNTS
    lines = Status.of(counted).lines()
    assert lines[0].startswith("complete: count of ")
    assert lines[2:] == ["fields: 5 of 5", "without a result: 2", "read in part only: 0", "white cells: 3"]


def test_datasets_reads_each_table_as_it_is(counted, tmp_path):
    for table, n_rows in (("cells", 3), ("fields", 5)):
        found = datasets.load_dataset(str(counted / table), split="train", cache_dir=str(tmp_path))
        assert len(found) == n_rows


def test_a_block_of_which_a_table_is_missing_is_counted_again(fields, options, counted):
    whole = parts(counted)
    kept, first, second = sorted((counted / "cells").iterdir())
    (counted / "fields" / first.name).unlink()
    second.unlink()
    before = kept.stat().st_mtime_ns
    assert count(str(fields), counted, **options).counts == COUNTS
    assert parts(counted) == whole
    assert kept.stat().st_mtime_ns == before


def test_other_settings_are_refused(fields, options, counted):
    with pytest.raises(ConfigError, match=r"other settings: platelets True \(now False\)"):
        count(str(fields), counted, **options | {"platelets": False})
    with pytest.raises(ConfigError, match="tiles"):
        count(str(fields), counted, **options, tiles=3)


def test_a_field_that_cannot_be_searched_has_no_counts():
    columns = field_columns(FieldCells((9, 8), problem="No glass is visible between the cells."))
    assert (columns["white_cells"], columns["red_cells"]) == (None, None)
    assert columns["notes"] == ["No glass is visible between the cells."]


def test_a_field_that_was_read_in_part_says_so():
    columns = field_columns(FieldCells((9, 8), red_cells=(), damaged=("A tenth could not be read.",)))
    assert (columns["white_cells"], columns["complete"]) == (0, False)
    assert columns["notes"] == ["A tenth could not be read."]


def test_a_slide_in_a_store_is_a_row_with_its_reason(counted):
    slide = BlockCell("a.svs", "s3://bucket/a.svs", b"II*")
    (row,) = count_fields(None, read_manifest(counted).job, [slide])["fields"]
    assert row["error"] == "s3://bucket/a.svs is a scanned slide, which is only read from a disk. Download it first."


def test_a_field_that_goes_while_it_is_searched_is_no_bad_field(counted, tmp_path):
    job = replace(read_manifest(counted).job, profile=None)
    gone = BlockCell("a.png", "a.png", path=tmp_path / "a.png")
    with pytest.raises(DataError, match="no longer does"):
        count_fields(None, job, [gone])


def test_a_predictor_takes_no_fields(counted):
    with pytest.raises(BCSamError, match=r"bc_sam\.batch\.count"):
        CellPredictor(read_manifest(counted).job.settings)
