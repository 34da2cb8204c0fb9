"""A run folder is bound to the config it was created with, unless that run produced no files."""

from dataclasses import dataclass

import pytest

from bc_sam.errors import BCSamError
from bc_sam.training.run import lock_run_folder
from bc_sam.utils.json_config import JsonConfig


@dataclass(frozen=True)
class Asked(JsonConfig):
    seed: int


def lock(folder, seed):
    lock_run_folder(folder, "asked.json", Asked(seed))
    return Asked.load(folder / "asked.json").seed


def test_a_new_folder_is_made_and_the_same_options_find_it_again(tmp_path):
    folder = tmp_path / "some" / "where"
    assert lock(folder, 1) == 1
    (folder / "work").mkdir()
    assert lock(folder, 1) == 1


def test_options_of_which_nothing_came_may_be_corrected(tmp_path):
    lock(tmp_path, 1)
    assert lock(tmp_path, 2) == 2


def test_what_came_of_other_options_is_kept(tmp_path):
    lock(tmp_path, 1)
    (tmp_path / "work").mkdir()
    with pytest.raises(BCSamError, match="other options"):
        lock(tmp_path, 2)
    assert Asked.load(tmp_path / "asked.json").seed == 1


def test_what_is_no_such_run_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(BCSamError, match="is not such a run"):
            lock(path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
