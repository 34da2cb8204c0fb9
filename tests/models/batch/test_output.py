"""The folder of results survives a kill or a full disk at every single file operation."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from faults import contents, count_operations, fill_disk, killed_at, watched

from bc_sam.errors import BCSamError, ConfigError
from bc_sam.models.batch.output import (
    MANIFEST,
    Manifest,
    OutputFolder,
    part_name,
    read_finished,
    read_manifest,
    write_block,
)
from bc_sam.models.batch.rows import CELLS, FIELDS, ONLY, Counts, finish_block, table_names
from bc_sam.models.batch.settings import BatchSettings, Job, ModelIdentity

N_BLOCKS = 2


def manifest_of(task):
    job = Job(BatchSettings(task=task), ModelIdentity("model", None, "digest", ("a", "b")), None, "fingerprint")
    return Manifest(job, ("cells",), n_files=6, n_blocks=N_BLOCKS, n_images=6)


MANIFEST_OF_JOB = manifest_of("predict")

COUNTS = {"predict": Counts(1, cells=2, errors=1), "count": Counts(1, cells=1, errors=1, fields=3, incomplete=1)}


def block(index, job=MANIFEST_OF_JOB.job):
    if job.settings.task == "count":
        cells = [{"cell_id": f"{index}#1", "name": "a"}]
        fields = [{"error": "Damaged."}, {"complete": False}, {"complete": True}]
        return finish_block(index, {CELLS: cells, FIELDS: fields}, job)
    rows = [
        {"cell_id": f"{index}.{row}", "source": "", "name": "a", "error": None if row else "Damaged."}
        for row in (0, 1)
    ]
    return finish_block(index, {ONLY: rows}, job)


def run(folder: Path, asked: Manifest = MANIFEST_OF_JOB) -> None:
    """Does what a job does with its folder, whose blocks need no computation."""
    with OutputFolder(folder) as output:
        manifest = output.begin(asked)
        finished = read_finished(folder, manifest)
        for index in range(N_BLOCKS):
            if index not in finished:
                finished[index] = write_block(folder, block(index, asked.job), N_BLOCKS)
        output.finish(manifest, finished)


@pytest.fixture(params=["predict", "count"])
def manifest(request):
    return manifest_of(request.param)


@pytest.fixture
def unbroken(tmp_path_factory, manifest):
    folder = tmp_path_factory.mktemp("unbroken") / "out"
    run(folder, manifest)
    return contents(folder)


def test_what_an_unbroken_job_writes(unbroken, manifest):
    names = [part_name(index, N_BLOCKS) for index in range(N_BLOCKS)]
    tables = table_names(manifest.job.settings.task)
    files = {name for name, content in unbroken.items() if content is not None}
    assert files == {MANIFEST, *(os.path.join(table, name) for table in tables for name in names)}


def test_killed_at_any_operation_and_continued_the_content_is_the_same(tmp_path, unbroken, manifest):
    n_operations = count_operations(lambda: run(tmp_path / "counted", manifest), tmp_path / "counted")
    assert n_operations >= 2 * N_BLOCKS
    for number in range(n_operations):
        folder = tmp_path / str(number)
        assert killed_at(lambda folder=folder: run(folder, manifest), folder, number)
        finished = read_finished(folder, manifest) if (folder / MANIFEST).exists() else {}
        kept = {path: path.stat().st_mtime_ns for path in folder.glob("**/part-*") if _index(path) in finished}
        run(folder, manifest)
        assert contents(folder) == unbroken, number
        assert all(path.stat().st_mtime_ns == moment for path, moment in kept.items())


def _index(path):
    return int(path.name.split("-")[1])


def test_a_full_disk_at_any_operation_loses_nothing(tmp_path, unbroken, manifest):
    n_operations = count_operations(lambda: run(tmp_path / "counted", manifest), tmp_path / "counted")
    for number in range(n_operations):
        folder = tmp_path / str(number)
        with suppress(OSError), watched(folder, number, fill_disk):  # what is only for messages may fail
            run(folder, manifest)
        assert all(content == unbroken[name] for name, content in contents(folder).items() if name != MANIFEST)
        run(folder, manifest)
        assert contents(folder) == unbroken, number


def test_finished_blocks_are_counted(tmp_path, manifest):
    run(tmp_path, manifest)
    each = COUNTS[manifest.job.settings.task]
    assert block(0, manifest.job).counts == each
    assert read_finished(tmp_path, manifest) == dict.fromkeys(range(N_BLOCKS), each)
    assert read_manifest(tmp_path).counts == each + each


def test_a_job_that_a_former_version_began_is_continued(tmp_path):
    """It had neither counts of fields nor platelets, and called images cells."""
    run(tmp_path)
    stored = json.loads((tmp_path / MANIFEST).read_text())
    del stored["job"]["settings"]["platelets"], stored["counts"]["fields"], stored["counts"]["incomplete"]
    stored["n_cells"] = stored.pop("n_images")
    (tmp_path / MANIFEST).write_text(json.dumps(stored))
    assert len(read_finished(tmp_path, read_manifest(tmp_path))) == N_BLOCKS


def test_a_missing_block_is_no_complete_job(tmp_path):
    with OutputFolder(tmp_path) as output:
        manifest = output.begin(MANIFEST_OF_JOB)
        with pytest.raises(BCSamError, match="1 of 2 blocks are missing, such as number 1"):
            output.finish(manifest, {0: Counts(1, 2, 1)})


class TestDamagedByHand:
    """What was changed in the folder is found in a sentence, without mixing results or waiting for ever."""

    @pytest.fixture
    def folder(self, tmp_path):
        run(tmp_path / "out")
        return tmp_path / "out"

    @staticmethod
    def change(folder, **changes):
        stored = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(stored | changes))

    @pytest.mark.parametrize("n_blocks", [7, 10**12])
    def test_another_number_of_blocks(self, folder, n_blocks):
        self.change(folder, n_blocks=n_blocks)
        assert read_finished(folder, read_manifest(folder)) == {}
        with pytest.raises(ConfigError, match=rf"says {n_blocks} blocks, but the job has 2: it was changed"):
            run(folder)

    @pytest.mark.parametrize(
        ("changes", "message"), [({"n_blocks": -1}, "at least 0"), ({"format": 99}, "newer version of bc_sam")]
    )
    def test_a_number_that_is_none_or_a_newer_version(self, folder, changes, message):
        self.change(folder, **changes)
        with pytest.raises(ConfigError, match=message):
            read_manifest(folder)

    def test_a_manifest_that_is_empty_or_gone(self, folder):
        (folder / MANIFEST).write_text("")
        with pytest.raises(ConfigError, match=r"cannot be read as JSON.*Give another --out, or remove this folder"):
            run(folder)
        (folder / MANIFEST).unlink()
        with pytest.raises(ConfigError, match=r"without their _manifest\.json\. Give another --out"):
            run(folder)

    @pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
    def test_a_folder_or_a_pipe_in_the_place_of_a_file(self, folder, make):
        part = folder / part_name(1, N_BLOCKS)
        part.unlink()
        make(part)
        with pytest.raises(ConfigError, match=r"part-0000001-of-0000002\.parquet is no file\. Remove it"):
            run(folder)


def test_a_file_or_a_folder_without_manifest(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        OutputFolder(tmp_path / "file")
    with pytest.raises(ConfigError, match="holds no results of --engine"):
        read_manifest(tmp_path)
