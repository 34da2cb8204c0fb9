"""A run locks its folder and loads its data once for all processes."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from datasets import ClassLabel
from drawn_shards import write_parquet
from other_process import locked_elsewhere

from bc_sam.config.labels import LABELS
from bc_sam.data import load_rendered
from bc_sam.errors import BCSamError, DataError
from bc_sam.training.run import DataSources, Run, lock_run_folder
from bc_sam.utils.json_config import JsonConfig


@dataclass(frozen=True)
class Asked(JsonConfig):
    seed: int


def lock(folder, seed):
    lock_run_folder(folder, "asked.json", Asked(seed))
    return Asked.load(folder / "asked.json").seed


class TestLock:
    def test_a_new_folder_is_created_and_reopened_with_the_same_options(self, tmp_path):
        folder = tmp_path / "some" / "where"
        assert lock(folder, 1) == 1
        (folder / "work").mkdir()
        assert lock(folder, 1) == 1

    def test_options_may_change_while_there_are_no_files(self, tmp_path):
        lock(tmp_path, 1)
        assert lock(tmp_path, 2) == 2

    def test_options_may_change_after_a_run_that_failed_before_it_computed_anything(self, tmp_path):
        lock(tmp_path, 1)
        for folder in ("cells", "fold-0"):  # decoded images, and the empty folder of a fold that was refused
            (tmp_path / "work" / folder).mkdir(parents=True)
        (tmp_path / "work" / "cells" / "pixels.npy").touch()
        assert lock(tmp_path, 2) == 2

    def test_other_options_are_rejected_once_there_are_results(self, tmp_path):
        lock(tmp_path, 1)
        (tmp_path / "work" / "fold-0" / "stage-1").mkdir(parents=True)
        (tmp_path / "work" / "fold-0" / "stage-1" / "checkpoint").touch()
        with pytest.raises(BCSamError, match="other options"):
            lock(tmp_path, 2)
        assert Asked.load(tmp_path / "asked.json").seed == 1

    def test_other_folders_are_rejected(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        for path in (tmp_path, tmp_path / "notes.txt"):
            with pytest.raises(BCSamError, match="is not a run folder of this kind"):
                lock(path, 1)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_a_config_of_an_older_version_is_the_same_config(self, tmp_path):
        @dataclass(frozen=True)
        class Renamed(JsonConfig):
            renamed_keys = {"seed": "random_seed"}  # noqa: RUF012

            random_seed: int

        lock(tmp_path, 1)
        (tmp_path / "work").mkdir()
        lock_run_folder(tmp_path, "asked.json", Renamed(1))
        assert Renamed.load(tmp_path / "asked.json") == Renamed(1)


class TestTwoRuns:
    def test_the_second_run_into_a_folder_is_refused_before_it_changes_anything(self, tmp_path):
        lock(tmp_path, 1)
        with locked_elsewhere(tmp_path), pytest.raises(BCSamError, match=r"in use by another run.*another --out"):
            lock(tmp_path, 2)
        assert Asked.load(tmp_path / "asked.json").seed == 1

    def test_a_run_holds_its_folder_and_its_shared_folder_until_it_is_closed(self, run, tmp_path):
        with run(work=tmp_path / "shared"):
            for folder in (tmp_path / "run", tmp_path / "shared"):
                assert "in use" in refused(folder)
        for folder in (tmp_path / "run", tmp_path / "shared"):
            assert refused(folder) == ""


def refused(folder):
    """What another process is told that locks a folder; empty if it gets the lock."""
    program = "import sys; from bc_sam.utils.folder_lock import FolderLock; FolderLock(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stderr


class TestDamagedConfig:
    def test_a_truncated_config_is_written_again_and_reported(self, tmp_path, caplog):
        lock(tmp_path, 1)
        (tmp_path / "work").mkdir()
        (tmp_path / "asked.json").write_text("")
        assert lock(tmp_path, 1) == 1
        assert "asked.json cannot be read as JSON" in caplog.text


@pytest.fixture
def run(laboratories, small_training, tmp_path):
    def make(*specs, **options):
        sources = DataSources(specs or (f"north={laboratories / 'munich'}", "south=rendered:tehran:1"))
        return Run(tmp_path / "run", small_training, sources, **options)

    return make


class TestData:
    def test_all_data_sets_are_stored_at_the_size_of_the_training(self, run, small_training):
        cells = run().cells
        assert cells.table.domain_names == ["north", "south"]
        assert np.bincount(cells.domains).tolist() == [18, 13]
        assert cells.image_size == small_training.image_size

    def test_they_lie_in_the_work_folder(self, run, tmp_path):
        run(work=tmp_path / "shared").cells  # noqa: B018
        assert (tmp_path / "shared" / "cells").is_dir()
        assert not (tmp_path / "run" / "work").exists()

    def test_the_survey_counts_them(self, run):
        assert run().survey.images == {"north": 18, "south": 13}

    def test_masks_classes_and_slides_come_from_the_options(self, laboratories, small_training, tmp_path):
        sources = DataSources(
            (f"north={laboratories / 'munich'}",),
            masks=str(laboratories / "masks" / "pairs.csv"),
            label_map={"basophil": None, "eosinophil": "monocyte"},
            group_pattern=r"(\d+)\.png$",
        )
        cells = Run(tmp_path, small_training, sources).cells
        assert len(cells) == 12
        assert cells.has_mask.all()
        assert {LABELS[label] for label in cells.labels} == {"monocyte"}
        assert None not in cells.table.groups

    def test_shards_are_decoded_once_for_all_runs_with_the_same_work_folder(self, run, small_training, tmp_path):
        for number in range(2):
            write_parquet(tmp_path / "cells" / f"train-{number}.parquet", range(3 * number, 3 * number + 3), bad=[4])
        folder, sources = tmp_path / "shared", (f"north={tmp_path / 'cells'}", "south=rendered:tehran:1")
        with run(*sources, work=folder) as first:
            cells = first.cells
            north, south = first.data_records()
        assert cells.table.domain_names == ["north", "south"]
        assert (north.images, north.labelled, north.unreadable, south.images) == (5, 5, 1, 13)
        shards = {path: path.stat().st_mtime_ns for path in folder.glob("cells/shards/*/*/pixels.npy")}
        assert len(shards) == 2
        again = Run(tmp_path / "second", small_training, DataSources(sources), work=folder)
        assert again.cells.content_key == cells.content_key
        assert {path: path.stat().st_mtime_ns for path in shards} == shards

    def test_two_data_sets_of_one_name_are_rejected_before_one_is_read(self, run, tmp_path):
        with pytest.raises(DataError, match="share a name: north, north"):
            run(f"north={tmp_path / 'missing'}", f"north={tmp_path / 'missing'}").datasets  # noqa: B018

    def test_data_sets_of_different_classes_are_rejected(self, small_training, tmp_path):
        class Mixed(Run):
            def load_datasets(self):
                blood = load_rendered("munich", cells_per_class=1)
                marrow = blood.cast_column("label", ClassLabel(names=["blast", *LABELS[1:]]))
                return [blood, marrow]

        with pytest.raises(DataError, match="one kind of cell"):
            Mixed(tmp_path, small_training, DataSources(())).labels  # noqa: B018


class TestRecords:
    def test_each_data_set_is_counted(self, run):
        north, south = run().data_records()
        assert (north.name, north.images, north.labelled, north.masks) == ("north", 18, 18, 0)
        assert (south.name, south.images, south.labelled, south.masks) == ("south", 13, 13, 13)

    def test_local_paths_are_not_recorded(self, run, laboratories):
        assert str(laboratories) not in str(run().data_records())

    def test_unreadable_images_are_counted(self, run, laboratories, tmp_path):
        import shutil

        folder = shutil.copytree(laboratories / "munich", tmp_path / "cells")
        (folder / "monocyte" / "broken.png").write_bytes(b"not an image")
        (record,) = run(f"north={folder}").data_records()
        assert (record.images, record.unreadable) == (18, 1)


def test_a_run_of_one_process_is_the_main_one(run):
    assert run().is_main_process


def test_unknown_trackers_are_rejected(run):
    with pytest.raises(BCSamError, match="carrier_pigeon"):
        run(log_with=("carrier_pigeon",))


def test_the_precision_is_that_of_the_training(run, small_training):
    assert run().precision == replace(small_training).mixed_precision == "no"
