"""Images among uploaded files and zips are listed and read without unpacking; bad ones are rejected or reported."""

import io
import os
import shutil
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from bc_sam.errors import DataError, ImageError
from bc_sam.space.server.settings import PageSettings, page_settings
from bc_sam.space.server.uploads import UploadFolder, image_sources, opened_uploads, remove

SETTINGS = PageSettings(max_image_bytes=1000, max_cells=5)


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read(files, settings=SETTINGS):
    errors = {}
    with opened_uploads(files, settings) as uploads:
        sources = list(image_sources(uploads, errors))
    return sources, errors


def test_files_and_the_images_in_zips_come_in_order(tmp_path):
    (tmp_path / "a.png").write_bytes(b"A")
    members = {
        "slide/b.png": b"B",
        "__MACOSX/b.png": b"",
        "slide/.hidden.png": b"",
        "slide/c.TIF": b"C",
        "slide/": b"",
    }
    sources, errors = read([tmp_path / "a.png", zipped(tmp_path / "more.zip", members)])
    assert [(source["path"], source["bytes"]) for source in sources] == [
        ("a.png", b"A"),
        ("slide/b.png", b"B"),
        ("slide/c.TIF", b"C"),
    ]
    assert errors == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "more.zip"]


def test_invalid_or_oversized_images_are_reported_and_the_others_read(tmp_path):
    members = {"notes.txt": b"", "large.png": b"x" * 1001, "good.png": b"x"}
    sources, errors = read([zipped(tmp_path / "cells.zip", members)])
    assert [source["bytes"] for source in sources] == [b"", b"", b"x"]
    assert isinstance(errors[0], ImageError)
    assert "not an image" in str(errors[0])
    assert "large.png is larger than" in str(errors[1])


def test_a_damaged_or_encrypted_member_is_reported(tmp_path):
    path = zipped(tmp_path / "cells.zip", {"a.png": os.urandom(400), "b.png": b"fine"})
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    sources, errors = read([path])
    assert list(errors) == [0]
    assert "damaged or encrypted" in str(errors[0])
    assert sources[1]["bytes"] == b"fine"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"../../climbs.png": b"x"}, "outside its folder"),
        ({"/etc/passwd.png": b"x"}, "outside its folder"),
        ({"a.png": bytes(300 * 2**20)}, "would grow"),
        ({f"{n}.png": b"x" for n in range(6)}, "6 images"),
        ({}, "no image"),
        ({"folder/": b""}, "no image"),
    ],
)
def test_an_unsafe_zip_is_rejected_without_revealing_its_path(tmp_path, members, words):
    path = zipped(tmp_path / "bad.zip", members)
    with pytest.raises(DataError, match=words) as caught:
        read([path])
    assert str(tmp_path) not in str(caught.value)


def test_a_colon_in_a_name_inside_a_zip_is_no_attack(tmp_path):
    sources, errors = read([zipped(tmp_path / "cells.zip", {"slide 12:30.png": b"x", "notes: old/a.png": b"y"})])
    assert [source["path"] for source in sources] == ["slide 12:30.png", "notes: old/a.png"]
    assert errors == {}


def test_a_fake_zip_is_rejected(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"^bad\.zip is not a readable zip"):
        read([tmp_path / "bad.zip"])


def test_nested_zips_are_not_opened(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.png", b"x")
    _, errors = read([zipped(tmp_path / "outer.zip", {"inner.zip": inner.getvalue()})])
    assert "not an image" in str(errors[0])


def test_a_missing_upload_is_reported(tmp_path):
    _, errors = read([tmp_path / "gone.png"])
    assert str(errors[0]) == "gone.png is no longer available. Drop it again."


def test_uploads_are_private_expire_and_end_with_the_page(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    with UploadFolder(keep_seconds=100) as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder.path)
        assert folder.path.stat().st_mode & 0o077 == 0
        (folder.path / "cell.png").write_bytes(b"x")
        (folder.path / "own_1").mkdir()
        folder.sweep()
        assert (folder.path / "cell.png").exists()
        later = time.time() + 101
        monkeypatch.setattr(time, "time", lambda: later)
        folder.sweep()
        assert not list(folder.path.iterdir())
    assert not folder.path.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "before"


def test_sweeping_tolerates_folders_that_are_removed_meanwhile():
    with UploadFolder(keep_seconds=0) as folder, ThreadPoolExecutor(1) as pool:
        stop = threading.Event()

        def visitors():
            while not stop.is_set():
                own = folder.path / "0123abcd" / "own_1"
                own.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(own.parent, ignore_errors=True)

        done = pool.submit(visitors)
        try:
            for _ in range(3000):
                folder.sweep()
        finally:
            stop.set()
        done.result()


def test_only_unshared_uploads_are_removed(tmp_path):
    own, shared = tmp_path / "own_1" / "cell.png", tmp_path / "0123abcd" / "cell.png"
    for file in (own, shared):
        file.parent.mkdir()
        file.write_bytes(b"x")
    remove([str(own), str(shared), tmp_path / "gone.png", tmp_path / "own_2" / "gone.png"])
    assert [path.name for path in tmp_path.iterdir()] == ["0123abcd"]
    assert shared.exists()


@pytest.mark.parametrize(
    ("environment", "public"),
    [
        ({}, False),
        ({"GRADIO_SERVER_NAME": "127.0.0.1"}, False),
        ({"GRADIO_SERVER_NAME": "0.0.0.0"}, True),
        ({"GRADIO_SHARE": "True"}, True),
        ({"SPACE_ID": "alice/page"}, True),
    ],
)
def test_a_reachable_page_is_public(environment, public):
    assert page_settings(environment).public == public
