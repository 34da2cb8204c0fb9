"""A run folder takes other options as long as nothing came of the first ones, and then no more."""

from dataclasses import dataclass

import pytest

from bc_sam.errors import BCSamError
from bc_sam.training.run import claim_folder
from bc_sam.utils.json_config import JsonConfig


@dataclass(frozen=True)
class Asked(JsonConfig):
    seed: int


def claim(folder, seed):
    claim_folder(folder, "asked.json", Asked(seed))
    return Asked.load(folder / "asked.json").seed


def test_a_new_folder_is_made_and_the_same_options_find_it_again(tmp_path):
    folder = tmp_path / "some" / "where"
    assert claim(folder, 1) == 1
    (folder / "work").mkdir()
    assert claim(folder, 1) == 1


def test_options_of_which_nothing_came_may_be_corrected(tmp_path):
    claim(tmp_path, 1)
    assert claim(tmp_path, 2) == 2


def test_what_came_of_other_options_is_kept(tmp_path):
    claim(tmp_path, 1)
    (tmp_path / "work").mkdir()
    with pytest.raises(BCSamError, match="other options"):
        claim(tmp_path, 2)
    assert Asked.load(tmp_path / "asked.json").seed == 1


def test_what_is_no_such_run_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(BCSamError, match="is no such run"):
            claim(path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
