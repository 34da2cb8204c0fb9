"""Jobs have one row for each cell, however often they were interrupted, and refuse what would mix results."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from faults import fill_disk, watched
from pyarrow import parquet

from bc_sam.errors import BCSamError, ConfigError, DataError
from bc_sam.models.auto import load_model
from bc_sam.models.batch.engines.base import Resources
from bc_sam.models.batch.output import MANIFEST, read_manifest
from bc_sam.models.batch.rows import Counts
from bc_sam.models.batch.run import run_batch

N_CELLS, N_ERRORS = 11, 2


def parts(out):
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


def rows(out):
    return {row["cell_id"]: row for row in parquet.read_table(out).to_pylist()}


@pytest.fixture
def out(tmp_path):
    """Where there is nothing yet."""
    return tmp_path / "out"


def test_the_rows_are_what_the_model_predicts(cells, finished, model_folder):
    found = rows(finished)
    assert len(found) == N_CELLS
    model = load_model(model_folder, dtype="float32")
    images = sorted(cells.glob("?.png"))
    everything = [*images[:6], *images[:3]]  # in the zip, too
    profile = model.profile([*sorted(cells.glob("*.png")), *images[:3]])
    for path, prediction in zip(images, model.stream(everything, abstain=True, profile=profile), strict=False):
        row = found[path.name]
        assert (row["name"], row["likeliest"]) == (prediction.label, prediction.likeliest)
        assert row["reasons"] == [reason.short for reason in prediction.reasons]
        np.testing.assert_allclose(row["probabilities"], prediction.probabilities, atol=1e-4)
        np.testing.assert_allclose(row["embedding"], prediction.latent, atol=1e-4)
        assert row["ood"] == pytest.approx(prediction.ood, abs=1e-4)
        assert row["source"] == str(path)
    assert found["more.zip/copy1.png"]["probabilities"] == pytest.approx(found["1.png"]["probabilities"], abs=1e-4)


def test_a_job_keeps_to_the_backend_that_it_began_with(finished):
    manifest = read_manifest(finished)
    assert manifest.job.settings.backend == "torch"  # which is installed; none was asked for


def test_a_bad_image_is_a_row_with_its_reason_only(finished):
    found = rows(finished)
    assert "is not an image of a known format" in found["bad.png"]["error"]
    assert "broken.png cannot be read: No such file or directory." in found["broken.png"]["error"]
    for name in ("bad.png", "broken.png"):
        assert {key for key, value in found[name].items() if value is not None} == {"cell_id", "source", "error"}


def test_the_manifest_says_what_was_computed(finished, cells, model_folder):
    manifest = json.loads((finished / MANIFEST).read_text())
    assert manifest["state"] == "complete"
    assert manifest["counts"] == {"blocks": 6, "cells": N_CELLS, "errors": N_ERRORS, "fields": 0, "incomplete": 0}
    assert manifest["sources"] == [str(cells)]
    assert manifest["job"]["model"]["labels"] == list(load_model(model_folder).labels)
    assert set(manifest["versions"]) >= {"bc_sam", "torch", "numpy"}


def test_embeddings_only(cells, settings, finished, tmp_path):
    embedded = tmp_path / "embedded"
    run_batch(str(cells), embedded, replace(settings, task="embed"))
    table = parquet.read_table(embedded)
    assert table.column_names == ["cell_id", "source", "embedding", "error"]
    expected = rows(finished)
    for row in table.to_pylist():
        if row["error"] is None:
            np.testing.assert_allclose(row["embedding"], expected[row["cell_id"]]["embedding"], atol=1e-4)
    assert table["error"].null_count == N_CELLS - N_ERRORS


def test_pandas_and_datasets_read_the_folder_as_it_is(finished, tmp_path):
    import datasets
    import pandas

    assert len(pandas.read_parquet(finished)) == N_CELLS
    assert len(datasets.load_dataset(str(finished), split="train", cache_dir=str(tmp_path / "cache"))) == N_CELLS


class TestContinuing:
    def test_finished_blocks_are_kept_and_the_content_is_that_of_an_unbroken_run(self, cells, settings, finished):
        whole = parts(finished)
        kept, *lost = whole
        for name in lost[::2]:
            (finished / name).unlink()
        before = (finished / kept).stat().st_mtime_ns
        manifest = run_batch(str(cells), finished, settings)
        assert parts(finished) == whole
        assert (finished / kept).stat().st_mtime_ns == before
        assert manifest.counts == Counts(6, N_CELLS, N_ERRORS)

    def test_a_complete_job_is_not_computed_again(self, cells, settings, finished):
        before = {path: path.stat().st_mtime_ns for path in finished.glob("part-*")}
        assert run_batch(str(cells), finished, settings).state == "complete"
        assert {path: path.stat().st_mtime_ns for path in finished.glob("part-*")} == before

    @pytest.mark.parametrize("damage", ["truncated", "of another job"])
    def test_a_part_that_is_not_of_this_job_is_computed_again(self, cells, settings, finished, damage):
        whole = parts(finished)
        name = next(iter(whole))
        if damage == "truncated":
            (finished / name).write_bytes(whole[name][:-20])
        else:
            parquet.write_table(pa.table({"cell_id": ["x"]}), finished / name)
        run_batch(str(cells), finished, settings)
        assert parts(finished) == whole

    def test_a_full_disk_loses_nothing_that_was_finished(self, cells, settings, finished, out):
        with pytest.raises(OSError, match="No space left"), watched(out, 20, fill_disk):
            run_batch(str(cells), out, settings)
        kept = {path: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
        assert 0 < len(kept) < 6
        assert not list(out.glob(".*.part"))
        run_batch(str(cells), out, settings)
        assert parts(out) == parts(finished)
        assert {path: path.stat().st_mtime_ns for path in kept} == kept


class TestRefused:
    def test_other_settings(self, cells, settings, finished):
        with pytest.raises(ConfigError, match=r"other settings: abstain True \(now False\)"):
            run_batch(str(cells), finished, replace(settings, abstain=False))

    def test_another_model(self, cells, settings, finished):
        with pytest.raises(ConfigError, match="was begun with another model"):
            run_batch(str(cells), finished, replace(settings, model="bc-sam-tiny"))

    def test_a_changed_source(self, cells, settings, finished, tmp_path):
        changed = shutil.copytree(cells, tmp_path / "cells", symlinks=True)
        assert run_batch(str(changed), finished, settings).state == "complete"  # it may lie elsewhere
        shutil.copy(cells / "0.png", changed / "new.png")
        with pytest.raises(ConfigError, match=r"The source has changed since .* 9 files then, 10 now"):
            run_batch(str(changed), finished, settings)

    def test_a_folder_of_other_files(self, cells, settings, out):
        out.mkdir()
        (out / "thesis.docx").write_bytes(b"")
        with pytest.raises(ConfigError, match=r"holds other files, such as thesis.docx"):
            run_batch(str(cells), out, settings)

    def test_an_unknown_label_classifier_or_engine(self, cells, settings, out):
        with pytest.raises(ConfigError, match="no label 'unicorn'"):
            run_batch(str(cells), out, replace(settings, labels=("unicorn",)))
        with pytest.raises(ConfigError, match="no classifier 'svm'"):
            run_batch(str(cells), out, replace(settings, classifier="svm"))
        with pytest.raises(ConfigError, match="no engine 'spark'"):
            run_batch(str(cells), out, settings, engine="spark")

    def test_a_source_without_cells_leaves_no_folder(self, tmp_path, settings, out):
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="No cells found"):
            run_batch(str(tmp_path / "empty"), out, settings)
        assert not out.exists()

    def test_other_settings_are_accepted_as_long_as_nothing_was_computed(self, cells, settings, out):
        with pytest.raises(ConfigError):
            run_batch(str(cells), out, settings, resources=Resources(machine={"device": "nonsense"}))
        assert run_batch(str(cells), out, replace(settings, abstain=False)).state == "complete"


WAITING_JOB = """
import sys, time
from pathlib import Path
from bc_sam.models.batch.output import OutputFolder
with OutputFolder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_jobs_in_one_folder_are_refused_until_the_first_is_gone(cells, settings, out):
    first = subprocess.Popen([sys.executable, "-c", WAITING_JOB, str(out)], stdout=subprocess.PIPE)
    assert first.stdout.readline() == b"held\n"
    with pytest.raises(BCSamError, match=f"is in use by another run .process {first.pid}"):
        run_batch(str(cells), out, settings)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert run_batch(str(cells), out, settings).counts.cells == N_CELLS


@pytest.mark.skipif("BC_SAM_SLOW_TESTS" not in os.environ, reason="BC_SAM_SLOW_TESTS is not set")
def test_a_killed_job_is_continued(cells, settings, finished, tmp_path):
    """The driver is killed once it has written a block; the benchmark batch_kills.py does it at random moments."""
    program = (
        "import json, sys, time\n"
        "from bc_sam.models.batch.run import run_batch\n"
        "from bc_sam.models.batch.settings import BatchSettings\n"
        "run_batch(sys.argv[1], sys.argv[2], BatchSettings.from_dict(json.loads(sys.argv[3])))\n"
    )
    out, asked = tmp_path / "killed", json.dumps(settings.to_dict())
    job = subprocess.Popen([sys.executable, "-c", program, str(cells), str(out), asked])
    while not list(out.glob("part-*.parquet")):
        assert job.poll() is None
        time.sleep(0.01)
    job.kill()
    job.wait()
    run_batch(str(cells), out, settings)
    assert parts(out) == parts(finished)
