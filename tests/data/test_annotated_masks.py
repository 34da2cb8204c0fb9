"""`match_masks` assigns each image its mask, and rejects ambiguous or incomplete files."""

import csv

import pytest

from bc_sam.data.annotated_masks import match_masks
from bc_sam.errors import DataError

FILES = ["BAS/1.tiff", "EOS/1.tiff", "EOS/2.tiff"]


@pytest.fixture
def root(tmp_path):
    """A data set with three images."""
    for file in FILES:
        path = tmp_path / "data" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "data"


@pytest.fixture
def write(tmp_path):
    """Writes the masks and a CSV with the given rows, and returns the path of the CSV."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).touch()

    def write_rows(*rows, header=("image", "mask")):
        with (folder / "pairs.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
        return folder / "pairs.csv"

    return write_rows


def names(paths):
    return [path and path.name for path in paths]


@pytest.mark.parametrize("prefix", ["masks/", ""])
def test_paths_are_relative_to_the_csv_or_its_parent(root, write, prefix):
    pairs = write(("data/EOS/1.tiff", prefix + "a.png"), ("data/BAS/1.tiff", prefix + "b.png"))
    assert names(match_masks(pairs, root, FILES)) == ["b.png", "a.png", None]


def test_a_moved_data_set_is_matched_by_path_suffix(root, write):
    pairs = write(("server/matek/EOS/1.tiff", "a.png"), ("server/lab/1.tiff", "b.png"))
    assert names(match_masks(pairs, root, FILES)) == [None, "a.png", None]


def test_a_partial_folder_name_does_not_match(root, write):
    assert names(match_masks(write(("server/xEOS/1.tiff", "a.png")), root, FILES)) == [None] * 3


def test_a_data_set_that_was_not_moved_is_not_matched_by_path_suffix(root, write):
    pairs = write(("data/BAS/1.tiff", "a.png"), ("elsewhere/EOS/1.tiff", "b.png"))
    assert names(match_masks(pairs, root, FILES)) == ["a.png", None, None]


def test_two_masks_for_one_image_are_rejected(root, write):
    with pytest.raises(DataError, match=r"EOS/1\.tiff more than one mask: .*a\.png and .*b\.png"):
        match_masks(write(("x/EOS/1.tiff", "a.png"), ("y/EOS/1.tiff", "b.png")), root, FILES)


def test_a_missing_mask_is_rejected_only_for_images_of_the_data_set(root, write):
    with pytest.raises(DataError, match=r"gone\.png, which does not exist"):
        match_masks(write(("data/EOS/1.tiff", "gone.png")), root, FILES)
    assert names(match_masks(write(("other/1.tiff", "gone.png")), root, FILES)) == [None] * 3


def test_a_csv_without_the_columns_is_rejected(root, write):
    with pytest.raises(DataError, match="no column 'image'"):
        match_masks(write(("data/EOS/1.tiff", "a.png"), header=("picture", "mask")), root, FILES)


def test_a_row_without_a_mask_is_rejected(root, write):
    with pytest.raises(DataError, match="line 2"):
        match_masks(write(("data/EOS/1.tiff",)), root, FILES)


def test_an_unreadable_csv_is_rejected(root, tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv cannot be read"):
        match_masks(tmp_path / "gone.csv", root, FILES)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match=r"binary\.csv cannot be read"):
        match_masks(tmp_path / "binary.csv", root, FILES)
