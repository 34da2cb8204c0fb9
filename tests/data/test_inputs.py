"""`find_cells` finds each input once, before heavy libraries are imported."""

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from PIL import Image

from bc_sam.data import load_cells, load_folder, save_parquet
from bc_sam.data.images import read_image
from bc_sam.data.inputs import find_cells
from bc_sam.data.reading_options import Layout
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
def test_files_folders_and_patterns_are_found(tmp_path, given, expected, absolute):
    root = tmp_path if absolute else Path()
    found = find_cells([os.fspath(root / given)])
    assert list(found.images) == [root / name for name in expected]
    assert found.names == [os.fspath(root / name) for name in expected]


@pytest.mark.usefixtures("slide")
def test_each_file_is_listed_once_in_the_given_order():
    found = find_cells(["slide/2.jpg", "slide", "slide/*.jpg"])
    assert found.names == ["slide/2.jpg", "slide/1.png", "slide/deep/3.tiff"]
    assert len(list(found.images)) == len(found) == 3


@pytest.mark.usefixtures("slide")
def test_cells_of_a_parquet_data_set_keep_their_names(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    save_parquet(load_folder("slide/deep", domain="x"), tmp_path / "set")
    found = find_cells(["slide/2.jpg", "set"])
    assert found.names == ["slide/2.jpg", "3.tiff"]
    assert [read_image(image).size for image in found.images] == [(4, 4)] * 2


@pytest.mark.usefixtures("slide")
@pytest.mark.parametrize("given", ["absent.png", "slide/*.bmp", "a**/b", "empty"])
def test_a_source_without_images_is_rejected_by_name(given):
    Path("empty").mkdir()
    with pytest.raises(
        DataError, match=r"No images found at .*Give image files, folders, or a quoted glob pattern"
    ) as error:
        find_cells(["slide/1.png", given])
    assert given in str(error.value)


def test_an_empty_path_is_not_the_current_folder():
    with pytest.raises(DataError, match="An empty path was given as a source of cells"):
        find_cells([""])


@pytest.mark.parametrize("files", [None, ["a.png", None, ""]])
def test_rows_without_a_file_name_are_named_by_their_place(tmp_path, monkeypatch, files):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    columns = {"image": [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(3)]} | ({"file": files} if files else {})
    path = str(tmp_path / "cells.parquet")
    datasets.Dataset.from_dict(columns, features=_features(columns)).to_parquet(path)
    first = "a.png" if files else f"{path}[0]"
    assert find_cells([path]).names == [first, f"{path}[1]", f"{path}[2]"]


def _features(columns):
    kinds = {"image": datasets.Image(), "file": datasets.Value("string")}
    return datasets.Features({name: kinds[name] for name in columns})


def test_an_existing_file_with_pattern_characters_is_not_a_pattern(tmp_path):
    path = tmp_path / "cell[1].png"
    Image.new("RGB", (4, 4)).save(path)
    assert find_cells([str(path)]).names == [str(path)]


def test_a_missing_file_is_reported_before_heavy_libraries_are_imported(tmp_path):
    script = """
import sys
sys.modules |= dict.fromkeys(["torch", "transformers", "sklearn", "skops"])
sys.argv = ["bc-sam", "predict", "absent.png"]
import bc_sam.cli
bc_sam.cli.main()
"""
    finished = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: No images found at absent.png.")


def test_a_table_gives_the_files_that_it_names_in_its_order_whatever_their_labels(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{name}.png").touch()
    table = tmp_path / "cells.csv"
    table.write_text("slide,my file,label\n1,images\\c.png,unicorn\n2,a.png,x\n2,a.png,y\n")
    found = find_cells([str(table)], Layout(columns={"file": "my file"}))
    assert found.images == [tmp_path / "images" / "c.png", tmp_path / "images" / "a.png"]
    assert found.names == [str(file) for file in found.images]


def test_a_table_of_other_images_is_rejected(tmp_path):
    (tmp_path / "1.png").touch()
    (tmp_path / "cells.csv").write_text("file\nx.png\n")
    with pytest.raises(DataError, match=r"names none of the images below .*, such as 'x\.png'"):
        find_cells([str(tmp_path / "cells.csv")])


class TestOptionsOfLayouts:
    @pytest.fixture
    def folder(self, tmp_path):
        for name in ("TRAIN/monocyte/1.png", "TEST/monocyte/2.png"):
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).touch()
        return tmp_path

    def test_a_split_is_a_folder(self, folder):
        assert [file.name for file in find_cells([str(folder)], Layout(split="test")).images] == ["2.png"]
        with pytest.raises(DataError, match="no images in a folder 'val'"):
            find_cells([str(folder)], Layout(split="val"))

    @pytest.mark.parametrize("option", [{"columns": {"file": "x"}}, {"config": "large"}])
    def test_options_that_have_no_effect_on_images_are_rejected(self, folder, option):
        with pytest.raises(DataError, match="has no effect on image files"):
            find_cells([str(folder)], Layout(**option))
        if "config" in option:
            with pytest.raises(DataError, match="has no config 'large'"):
                load_cells(f"ours={folder}", **option)
