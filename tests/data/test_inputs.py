"""What a user names as cells is found, each once, before anything heavy is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from PIL import Image

from bc_sam.data import load_folder, save_parquet
from bc_sam.data.images import read_image
from bc_sam.data.inputs import find_cells
from bc_sam.errors import DataError


@pytest.fixture
def slide(tmp_path, monkeypatch):
    """A folder with a subfolder, in the working directory."""
    for name in ("slide/1.png", "slide/2.jpg", "slide/deep/3.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "slide" / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("slide")
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("slide/2.jpg", ["slide/2.jpg"]),
        ("slide", ["slide/1.png", "slide/2.jpg", "slide/deep/3.tiff"]),
        ("slide/*.png", ["slide/1.png"]),
        ("slide/**/*.tiff", ["slide/deep/3.tiff"]),
        ("slide/d*", ["slide/deep/3.tiff"]),
        ("s*/[12].*", ["slide/1.png", "slide/2.jpg"]),
    ],
)
def test_files_folders_and_patterns(tmp_path, given, expected, absolute):
    root = tmp_path if absolute else Path()
    found = find_cells([os.fspath(root / given)])
    assert list(found.images) == [root / name for name in expected]
    assert found.names == [os.fspath(root / name) for name in expected]


@pytest.mark.usefixtures("slide")
def test_each_file_comes_once_in_the_order_given():
    found = find_cells(["slide/2.jpg", "slide", "slide/*.jpg"])
    assert found.names == ["slide/2.jpg", "slide/1.png", "slide/deep/3.tiff"]
    assert len(list(found.images)) == len(found) == 3


@pytest.mark.usefixtures("slide")
def test_cells_of_a_parquet_set_are_named_as_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    save_parquet(load_folder("slide/deep", domain="x"), tmp_path / "set")
    found = find_cells(["slide/2.jpg", "set"])
    assert found.names == ["slide/2.jpg", "3.tiff"]
    assert [read_image(image).size for image in found.images] == [(4, 4)] * 2


@pytest.mark.usefixtures("slide")
@pytest.mark.parametrize("given", ["absent.png", "slide/*.bmp", "a**/b", "empty"])
def test_what_stands_for_nothing_is_an_error_that_names_it(given):
    Path("empty").mkdir()
    with pytest.raises(DataError, match=r"no image .*Give image files, folders, or a pattern in quotes") as error:
        find_cells(["slide/1.png", given])
    assert given in str(error.value)


def test_a_file_name_with_the_signs_of_a_pattern_is_a_file(tmp_path):
    path = tmp_path / "cell[1].png"
    Image.new("RGB", (4, 4)).save(path)
    assert find_cells([str(path)]).names == [str(path)]


def test_what_is_not_there_is_said_before_anything_heavy_is_loaded(tmp_path):
    script = """
import sys
sys.modules |= dict.fromkeys(["torch", "transformers", "sklearn", "skops"])
sys.argv = ["bc-sam", "predict", "absent.png"]
import bc_sam.cli
bc_sam.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no image absent.png.")
