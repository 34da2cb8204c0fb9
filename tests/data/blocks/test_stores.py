"""Stores of fsspec: listed and read like folders, with errors that say what to do."""

import io
import zipfile
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bc_sam.data.blocks.plan import plan_blocks
from bc_sam.data.blocks.reading import read_block
from bc_sam.errors import DataError


class Store(MemoryFileSystem):
    """The files in memory under another protocol."""

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix(f"{cls.protocol}:/"))


class DeniedStore(Store):
    """Lists its files, but lets nobody read them."""

    protocol = "denied"

    def cat_file(self, path, **options):
        raise PermissionError("Access Denied")


class FlakyStore(Store):
    """Fails every first attempt to read a file."""

    protocol = "flaky"
    failed: ClassVar[set[str]] = set()

    def cat_file(self, path, **options):
        if path not in self.failed:
            self.failed.add(path)
            raise ConnectionResetError("connection reset")
        return super().cat_file(path, **options)


class UnlistedStore(Store):
    """May not be listed."""

    protocol = "unlisted"

    def find(self, path, **options):
        raise PermissionError("Forbidden")


for store in (DeniedStore, FlakyStore, UnlistedStore):
    fsspec.register_implementation(store.protocol, store, clobber=True)


@pytest.fixture(autouse=True)
def _stored():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("3.png", b"cell 3")
    files = {"/cells/1.png": b"cell 1", "/cells/sub/2 [x].png": b"cell 2", "/cells/z.zip": archive.getvalue()}
    files |= {"/cells/.hidden/4.png": b"", "/cells/notes.txt": b""}
    memory = fsspec.filesystem("memory")
    for path, content in files.items():
        memory.pipe_file(path, content)
    yield
    memory.rm("/cells", recursive=True)


def cells_of(source):
    return [cell for block in plan_blocks([source]).blocks for cell in read_block(block)]


def test_a_store_is_read_like_a_folder():
    found = {cell.cell_id: cell for cell in cells_of("memory://cells")}
    assert {name: cell.content for name, cell in found.items()} == {
        "1.png": b"cell 1",
        "sub/2 [x].png": b"cell 2",
        "z.zip/3.png": b"cell 3",
    }
    assert found["1.png"].source == "memory:///cells/1.png"


def test_a_single_file_of_a_store():
    assert [cell.cell_id for cell in cells_of("memory://cells/1.png")] == ["1.png"]


def test_a_moment_without_connection_is_waited_for():
    assert [cell.content for cell in cells_of("flaky://cells/1.png")] == [b"cell 1"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("memory://nowhere", "does not exist"),
        ("unlisted://cells", "may not be read: Forbidden. Check the permissions, and for a store the credentials"),
        ("denied://cells/1.png", "may not be read: Access Denied"),
        ("nosuchstore://cells", "cannot be read: ValueError: Protocol not known"),
        ("abfs://cells", "needs the Python package adlfs, which is not installed. Run: pip install adlfs"),
    ],
)
def test_errors_say_what_to_do(source, words):
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        cells_of(source)
