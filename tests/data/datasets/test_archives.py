"""Zip archives are unpacked once, completely, and never outside their folder."""

import io
import os
import zipfile

import datasets
import pytest
from PIL import Image

from bc_sam.data import load_acevedo20, load_matek19
from bc_sam.data.datasets.archives import as_folder
from bc_sam.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A separate cache for each test."""
    monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def write_zip(tmp_path):
    def write(members, name="cells.zip"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return tmp_path / name

    return write


def tiff(mode="RGBA"):
    stream = io.BytesIO()
    Image.new(mode, (40, 40), (200, 150, 220, 255)[: len(mode)]).save(stream, "TIFF")
    return stream.getvalue()


def test_downloaded_archives_are_loaded(write_zip):
    matek = write_zip({"AML-Cytomorphology/BAS/BAS_0001.tiff": tiff(), "AML-Cytomorphology/PMB/PMB_1.tiff": tiff()})
    acevedo = write_zip({"PBC_dataset_normal_DIB/ig/MMY_1.tiff": tiff("RGB")}, "PBC.zip")
    assert load_matek19(matek)["file"][:] == ["BAS/BAS_0001.tiff"]
    assert load_matek19(matek)[0]["image"].size == (40, 40)
    assert load_acevedo20(acevedo)["file"][:] == ["ig/MMY_1.tiff"]


def test_a_folder_is_returned_unchanged(tmp_path, cache):
    assert as_folder(tmp_path) == tmp_path
    assert not cache.exists()


def test_an_archive_is_unpacked_once_until_it_changes(write_zip):
    first = as_folder(write_zip({"a.txt": "one"}))
    (first / "mark").touch()
    assert (as_folder(first.parents[1] / "cells.zip") / "mark").exists()
    second = as_folder(write_zip({"a.txt": "changed"}))
    assert (second / "a.txt").read_text() == "changed"


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:\\evil.txt"])
def test_paths_outside_the_folder_are_rejected(write_zip, cache, tmp_path, name):
    with pytest.raises(DataError, match=r"cells\.zip contains .* outside its folder"):
        as_folder(write_zip({"good.txt": "x", name: "evil"}))
    assert not list(tmp_path.rglob("evil.txt"))
    assert not list(cache.iterdir())


def test_a_zip_bomb_is_rejected(write_zip, cache):
    with pytest.raises(DataError, match=r"would grow from \d+ to 300000000 bytes"):
        as_folder(write_zip({"zeros.bin": bytes(300_000_000)}))
    assert not list(cache.iterdir())


def test_an_archive_larger_than_the_free_disk_space_is_rejected(write_zip, monkeypatch):
    path = write_zip({"a.txt": "12345"})
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 4}))
    with pytest.raises(DataError, match="needs 5 bytes"):
        as_folder(path)


def test_a_damaged_archive_leaves_nothing_behind(write_zip, cache):
    path = write_zip({"a.bin": bytes(range(256)) * 40, "b.txt": "fine"})
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cells\.zip cannot be unpacked"):
        as_folder(path)
    assert not list(cache.iterdir())


def test_other_files_and_missing_paths_are_rejected(tmp_path):
    (tmp_path / "cells.rar").write_bytes(b"Rar!\x1a\x07")
    with pytest.raises(DataError, match=r"cells\.rar is neither a folder nor a zip"):
        as_folder(tmp_path / "cells.rar")
    with pytest.raises(DataError, match=r"gone\.zip does not exist"):
        as_folder(tmp_path / "gone.zip")


def test_a_pipe_is_rejected_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "cells.zip")
    with pytest.raises(DataError, match=r"cells\.zip is neither a folder nor a zip"):
        as_folder(tmp_path / "cells.zip")
