"""A source is always divided in the same way, and every cell is in one block."""

import io
import os
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from bc_sam.data.blocks.plan import plan_blocks, sample_cells
from bc_sam.data.blocks.reading import read_block
from bc_sam.data.preparation import sample_evenly
from bc_sam.errors import DataError


def png(shade):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path, names, mode="w"):
    with tarfile.open(path, mode) as archive:
        for number, name in enumerate(names):
            content = png(number)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_zip(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, png(number))


def write_table(path, n_rows, **options):
    images = [{"bytes": png(row), "path": f"row{row}.png"} for row in range(n_rows)]
    parquet.write_table(pa.table({"image": images, "label": ["x"] * n_rows}), path, **options)


@pytest.fixture
def folder(tmp_path):
    """Five loose images, three in each kind of archive, seven in a table of small row groups; and what is no cell."""
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.png", "a.png", "sub/c.png", "sub/d.PNG", "e.png"):
        (folder / name).write_bytes(png(len(name)))
    for name in ("notes.txt", ".hidden.png", "sub/table.xml"):
        (folder / name).write_bytes(b"no cell")
    write_tar(folder / "shard-0.tar", ["1.png", "1.mask.png", "2.png", "x/3.png"])
    write_tar(folder / "shard-1.tgz", ["1.png", "2.png", "3.png"], "w:gz")
    write_zip(folder / "z.zip", ["1.png", "in/2.png", "3.png", "__MACOSX/3.png", "readme.txt"])
    write_table(folder / "train-0.parquet", 7, row_group_size=3)
    return folder


def ids(plan):
    return [cell.cell_id for block in plan.blocks for cell in read_block(block)]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_every_cell_is_in_one_block_whatever_their_size(folder, size):
    plan = plan_blocks([str(folder)], block_size=size)
    assert sorted(ids(plan)) == sorted(
        [
            *("a.png", "b.png", "e.png", "sub/c.png", "sub/d.PNG"),
            *("shard-0.tar/1.png", "shard-0.tar/2.png", "shard-0.tar/x/3.png"),
            *("shard-1.tgz/1.png", "shard-1.tgz/2.png", "shard-1.tgz/3.png"),
            *("z.zip/1.png", "z.zip/in/2.png", "z.zip/3.png"),
            *(f"train-0.parquet[{row}]" for row in range(7)),
        ]
    )
    assert [block.index for block in plan.blocks] == list(range(len(plan.blocks)))
    assert all(len(list(read_block(block))) <= max(size, 3) for block in plan.blocks)
    assert plan == plan_blocks([str(folder)], block_size=size)


def test_files_that_hold_no_cell_are_counted(folder):
    assert plan_blocks([str(folder)]).other_files == {".txt": 1, ".xml": 1}


def test_the_number_of_cells_is_known_unless_a_tar_has_to_be_read_for_it(folder):
    assert plan_blocks([str(folder)]).n_cells is None
    (folder / "shard-1.tgz").unlink()
    assert plan_blocks([str(folder)]).n_cells == 18


class TestFingerprint:
    """It changes with the source and with how it is divided, and with nothing else."""

    def fingerprint(self, folder, **options):
        return plan_blocks([str(folder)], **options).fingerprint

    def test_it_does_not_depend_on_where_the_source_lies(self, folder, tmp_path):
        before = self.fingerprint(folder)
        folder.rename(tmp_path / "moved")
        assert self.fingerprint(tmp_path / "moved") == before

    @pytest.mark.parametrize("change", ["added", "removed", "longer", "touched"])
    def test_it_changes_with_the_source(self, folder, change):
        before = self.fingerprint(folder)
        path = folder / "sub" / "c.png"
        if change == "added":
            (folder / "f.png").write_bytes(png(1))
        elif change == "removed":
            path.unlink()
        elif change == "longer":
            path.write_bytes(path.read_bytes() + b"0")
        else:
            os.utime(path, (1, 1))
        assert self.fingerprint(folder) != before

    def test_it_changes_with_the_size_of_the_blocks(self, folder):
        assert self.fingerprint(folder, block_size=2) != self.fingerprint(folder, block_size=3)


class TestSeveralSources:
    def test_ids_begin_with_the_source(self, folder):
        plan = plan_blocks([str(folder / "sub"), str(folder / "z.zip")])
        assert ids(plan) == [
            *(f"{folder}/sub/c.png", f"{folder}/sub/d.PNG"),
            *(f"{folder}/z.zip/1.png", f"{folder}/z.zip/3.png", f"{folder}/z.zip/in/2.png"),
        ]

    def test_files_of_one_folder_share_a_block(self, folder):
        plan = plan_blocks([str(folder / name) for name in ("a.png", "b.png", "e.png")])
        assert [block.members for block in plan.blocks] == [("a.png", "b.png", "e.png")]


class TestTables:
    """A CSV that names files is a source of these files, in its order."""

    @pytest.fixture
    def table(self, folder):
        path = folder / "chosen.csv"
        path.write_text("file,slide,cell\nsub/c.png,1,x3\na.png,1,x1\ngone.png,2,x2\nb.png,2,x4\n")
        return path

    def test_cells_are_named_by_their_files(self, table, caplog):
        assert ids(plan_blocks([str(table)], block_size=2)) == ["sub/c.png", "a.png", "b.png"]
        assert "1 rows name no image below" in caplog.text
        assert "such as gone.png" in caplog.text

    def test_cells_have_the_ids_of_a_column(self, table):
        plan = plan_blocks([str(table)], block_size=2, columns={"id": "cell"})
        assert ids(plan) == ["x3", "x1", "x4"]
        assert [cell.cell_id for cell in sample_cells(plan, 2)] == ["x3", "x4"]
        cells = [cell for block in plan.blocks for cell in read_block(block)]
        assert [cell.content for cell in cells] == [(table.parent / name).read_bytes() for name in plan_names(plan)]
        assert plan.fingerprint != plan_blocks([str(table)], block_size=2).fingerprint

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ("a.png,x\nb.png,x\n", "gives both a.png and b.png the id x"),
            ("a.png,x\na.png,y\n", "gives a.png a second id, y, in line 3"),
            ("a.png,x\nb.png,\n", "gives b.png no id"),
        ],
    )
    def test_ids_that_are_not_distinct_are_refused(self, table, rows, message):
        table.write_text(f"file,cell\n{rows}")
        with pytest.raises(DataError, match=message):
            plan_blocks([str(table)], columns={"id": "cell"})

    def test_columns_without_effect_are_refused(self, table, folder):
        with pytest.raises(DataError, match="has no column 'nr'"):
            plan_blocks([str(table)], columns={"id": "nr"})
        with pytest.raises(DataError, match="--column image= has no effect"):
            plan_blocks([str(table)], columns={"image": "slide"})
        with pytest.raises(DataError, match="--column id= has no effect"):
            plan_blocks([str(folder)], columns={"id": "cell"})

    def test_a_table_in_a_store_is_refused(self):
        with pytest.raises(DataError, match="from a disk only"):
            plan_blocks(["s3://bucket/cells.csv"])


def plan_names(plan):
    return [name for block in plan.blocks for name in block.members]


@pytest.mark.parametrize(("name", "mode"), [("t.tar", "w"), ("t.tgz", "w:gz")])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_files_of_one_name_in_a_tar_have_distinct_ids(tmp_path, name, mode, size):
    write_tar(tmp_path / name, ["1.png", "2.png", "1.png", "1.png", "2.png"], mode)
    plan = plan_blocks([str(tmp_path)], block_size=size)
    assert ids(plan) == [f"{name}/{member}" for member in ("1.png", "2.png", "1.png#2", "1.png#3", "2.png#2")]
    contents = [cell.content for block in plan.blocks for cell in read_block(block)]
    assert contents == [png(number) for number in range(5)]


class TestSplit:
    def test_only_what_has_its_name_is_read(self, tmp_path):
        (tmp_path / "test").mkdir()
        (tmp_path / "test" / "a.png").write_bytes(png(1))
        (tmp_path / "b.png").write_bytes(png(1))
        write_table(tmp_path / "test-00000-of-00001.parquet", 1)
        write_table(tmp_path / "train-00000-of-00001.parquet", 1)
        found = ids(plan_blocks([str(tmp_path)], split="test"))
        assert found == ["test-00000-of-00001.parquet[0]", "test/a.png"]

    def test_a_split_that_matches_nothing_is_an_error(self, folder):
        with pytest.raises(DataError, match="has no split 'val'"):
            plan_blocks([str(folder)], split="val")


def test_scanned_slides_are_images_where_fields_are_sought(tmp_path):
    for name in ("a.svs", "b.png"):
        (tmp_path / name).write_bytes(b"")
    assert plan_blocks([str(tmp_path)]).blocks[0].members == ("b.png",)
    assert plan_blocks([str(tmp_path)], slides=True).blocks[0].members == ("a.svs", "b.png")


class TestSourcesThatAreRefused:
    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="does not exist"):
            plan_blocks([str(tmp_path / "nowhere")])

    def test_without_cells(self, tmp_path):
        (tmp_path / "notes.txt").write_text("no cell")
        with pytest.raises(DataError, match="No cells found in"):
            plan_blocks([str(tmp_path)])

    def test_an_archive_without_images(self, tmp_path):
        write_zip(tmp_path / "z.zip", ["readme.txt"])
        with pytest.raises(DataError, match="hold no image"):
            plan_blocks([str(tmp_path / "z.zip")])

    def test_a_damaged_zip_or_table_is_named_before_anything_is_computed(self, tmp_path):
        for name, words in (("z.zip", "is damaged"), ("t.parquet", "cannot be read as parquet")):
            (tmp_path / name).write_bytes(b"neither zip nor parquet")
            with pytest.raises(DataError, match=f"{name} {words}"):
                plan_blocks([str(tmp_path / name)])

    def test_a_table_without_a_column_of_images(self, tmp_path):
        parquet.write_table(pa.table({"label": ["x"]}), tmp_path / "t.parquet")
        with pytest.raises(DataError, match="has the columns label, none of images"):
            plan_blocks([str(tmp_path)])


class TestSample:
    @pytest.mark.parametrize("size", [1, 4, 100])
    def test_the_same_cells_are_measured_whatever_the_blocks(self, folder, size):
        (folder / "shard-1.tgz").unlink()  # the number of whose cells is not known
        plan = plan_blocks([str(folder)], block_size=size)
        everything = ids(plan)
        sampled = [cell.cell_id for cell in sample_cells(plan, 5)]
        assert sampled == [everything[index] for index in sample_evenly(len(everything), 5)]

    def test_first_cells_of_tars_that_are_read_once(self, tmp_path):
        for shard in range(2):
            write_tar(tmp_path / f"{shard}.tgz", ["1.png", "2.png", "3.png"], "w:gz")
        sampled = [cell.cell_id for cell in sample_cells(plan_blocks([str(tmp_path)]), 4)]
        assert sampled == ["0.tgz/1.png", "0.tgz/2.png", "1.tgz/1.png", "1.tgz/2.png"]
