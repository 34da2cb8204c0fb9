"""The folder of results survives a kill or a full disk at every single file operation."""

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
from bc_sam.models.batch.rows import ONLY, Counts, finish_block
from bc_sam.models.batch.settings import BatchSettings, Job, ModelIdentity

N_BLOCKS = 3
JOB = Job(BatchSettings(), ModelIdentity("model", None, "digest", ("a", "b")), None, "fingerprint")
MANIFEST_OF_JOB = Manifest(JOB, ("cells",), n_files=6, n_blocks=N_BLOCKS, n_images=6)


def block(index):
    rows = [
        {"cell_id": f"{index}.{row}", "source": "", "name": "a", "error": None if row else "Damaged."}
        for row in (0, 1)
    ]
    return finish_block(index, {ONLY: rows}, JOB)


def run(folder: Path) -> None:
    """Does what a job does with its folder, whose blocks need no computation."""
    with OutputFolder(folder) as output:
        manifest = output.begin(MANIFEST_OF_JOB)
        finished = read_finished(folder, manifest)
        for index in range(N_BLOCKS):
            if index not in finished:
                finished[index] = write_block(folder, block(index), N_BLOCKS)
        output.finish(manifest, finished)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "out"
    run(folder)
    return contents(folder)


def test_what_an_unbroken_job_writes(unbroken):
    assert sorted(unbroken) == [MANIFEST, *(part_name(index, N_BLOCKS) for index in range(N_BLOCKS))]


def test_killed_at_any_operation_and_continued_the_content_is_the_same(tmp_path, unbroken):
    n_operations = count_operations(lambda: run(tmp_path / "counted"), tmp_path / "counted")
    assert n_operations >= 2 * N_BLOCKS
    for number in range(n_operations):
        folder = tmp_path / str(number)
        assert killed_at(lambda folder=folder: run(folder), folder, number)
        kept = {path: path.stat().st_mtime_ns for path in folder.glob("part-*")}
        run(folder)
        assert contents(folder) == unbroken, number
        assert all(path.stat().st_mtime_ns == moment for path, moment in kept.items())


def test_a_full_disk_at_any_operation_loses_nothing(tmp_path, unbroken):
    n_operations = count_operations(lambda: run(tmp_path / "counted"), tmp_path / "counted")
    for number in range(n_operations):
        folder = tmp_path / str(number)
        with suppress(OSError), watched(folder, number, fill_disk):  # what is only for messages may fail
            run(folder)
        assert all(content == unbroken[name] for name, content in contents(folder).items() if name != MANIFEST)
        run(folder)
        assert contents(folder) == unbroken, number


def test_finished_blocks_are_counted(tmp_path):
    run(tmp_path)
    assert read_finished(tmp_path, MANIFEST_OF_JOB) == dict.fromkeys(range(N_BLOCKS), Counts(1, 2, 1))
    assert read_manifest(tmp_path).counts == Counts(3, 6, 3)


def test_a_missing_block_is_no_complete_job(tmp_path):
    with OutputFolder(tmp_path) as output:
        manifest = output.begin(MANIFEST_OF_JOB)
        with pytest.raises(BCSamError, match="2 of 3 blocks are missing, such as number 1"):
            output.finish(manifest, {0: Counts(1, 2, 1)})


def test_a_file_or_a_folder_without_manifest(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        OutputFolder(tmp_path / "file")
    with pytest.raises(ConfigError, match="holds no results of --engine"):
        read_manifest(tmp_path)
