"""The cells of a block have the bytes of their image, or a reason why not; a lost source is an error instead."""

import io
import tarfile
import zipfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from bc_sam.data.blocks.plan import plan_blocks
from bc_sam.data.blocks.reading import read_block, read_fields
from bc_sam.errors import DataError


def cells_of(source, **options):
    return [cell for block in plan_blocks([str(source)], **options).blocks for cell in read_block(block)]


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def test_the_bytes_are_those_of_the_file_in_every_kind_of_source(tmp_path):
    contents = [f"cell {number}".encode() for number in range(100)]
    names = [f"{number:03d}.png" for number in range(100)]
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    with tarfile.open(tmp_path / "t.tar", "w") as tar, zipfile.ZipFile(tmp_path / "z.zip", "w") as zipped:
        for name, content in zip(names, contents, strict=True):
            add(tar, name, content)
            zipped.writestr(name, content)
    parquet.write_table(pa.table({"picture": contents}), tmp_path / "p.parquet", row_group_size=40)
    found = cells_of(tmp_path, block_size=33)
    assert [cell.content for cell in found[:100]] == contents
    for suffix in ("p.parquet[", "t.tar/", "z.zip/"):
        assert [cell.content for cell in found if cell.cell_id.startswith(suffix)] == contents


def test_a_link_that_leads_nowhere_is_a_cell_with_its_reason(tmp_path):
    (tmp_path / "a.png").write_bytes(b"cell")
    (tmp_path / "broken.png").symlink_to("nowhere.png")
    first, broken = cells_of(tmp_path)
    assert (first.content, first.error) == (b"cell", None)
    assert broken.error == f"{tmp_path}/broken.png cannot be read: No such file or directory."


def test_a_file_that_has_gone_since_it_was_listed_is_no_bad_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"cell")
    (block,) = plan_blocks([str(tmp_path)]).blocks
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="no longer does"):
        list(read_block(block))


def test_fields_on_disk_are_left_to_be_opened_by_their_path(tmp_path):
    (tmp_path / "a.png").write_bytes(b"field")
    (tmp_path / "broken.png").symlink_to("nowhere.png")
    (block,) = plan_blocks([str(tmp_path)]).blocks
    first, broken = read_fields(block)
    assert (first.path, first.content, first.image) == (tmp_path / "a.png", b"", tmp_path / "a.png")
    assert broken.error == f"{tmp_path}/broken.png cannot be read: No such file or directory."
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="no longer does"):
        list(read_fields(block))


def test_fields_in_archives_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("1.png", b"field")
    (block,) = plan_blocks([str(tmp_path)]).blocks
    (field,) = read_fields(block)
    assert field.image == {"bytes": b"field", "path": f"{tmp_path}/z.zip/1.png"}


def test_a_damaged_member_of_a_zip_is_a_cell_with_its_reason(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("1.png", b"first cell")
        archive.writestr("2.png", b"second cell")
    content = (tmp_path / "z.zip").read_bytes()
    (tmp_path / "z.zip").write_bytes(content.replace(b"first cell", b"other cell"))
    damaged, intact = cells_of(tmp_path / "z.zip")
    assert "1.png is damaged or encrypted (Bad CRC-32" in damaged.error
    assert intact.content == b"second cell"


@pytest.mark.parametrize(("name", "mode"), [("t.tar", "w"), ("t.tar.gz", "w:gz")])
def test_the_cells_before_the_damage_of_a_tar_are_kept(tmp_path, name, mode):
    noise = bytes(range(256)) * 40
    with tarfile.open(tmp_path / name, mode, **({"compresslevel": 0} if mode == "w:gz" else {})) as archive:
        for number in range(10):
            add(archive, f"{number}.png", noise)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    *intact, last = cells_of(tmp_path)
    assert 3 <= len(intact) <= 5
    assert all(cell.content == noise for cell in intact)
    assert last.cell_id == name
    assert "is damaged or incomplete from here on" in last.error


def test_a_table_that_holds_only_paths_says_so(tmp_path):
    parquet.write_table(pa.table({"image": [{"bytes": None, "path": "x/1.png"}]}), tmp_path / "p.parquet")
    (cell,) = cells_of(tmp_path)
    assert cell.source == "x/1.png"
    assert "holds only the path x/1.png, not the image" in cell.error


def test_names_come_from_the_column_of_files(tmp_path):
    parquet.write_table(pa.table({"image": [b"1", b"2"], "file": ["a.png", None]}), tmp_path / "p.parquet")
    first, second = cells_of(tmp_path)
    assert (first.cell_id, first.source) == ("p.parquet[0]", "a.png")
    assert second.source == f"{tmp_path}/p.parquet[1]"
