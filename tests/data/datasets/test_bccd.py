"""`load_bccd` on small folders of fields and boxes, and on the real ones."""

import csv
import io
import zipfile
from collections import Counter, defaultdict

import datasets
import numpy as np
import pytest
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.data import FEATURES, load_bccd, load_cells, save_parquet
from bc_sam.data.datasets.bccd import BCCD, looks_like_bccd
from bc_sam.data.datasets.box_crops import CROP_SIDE, crop_box
from bc_sam.data.images import read_image
from bc_sam.data.sources import provenance_of
from bc_sam.data.store import store_cells
from bc_sam.errors import DataError

HEADER = "field,object,xmin,ymin,xmax,ymax,cell_class"
WIDTH, HEIGHT = 640, 480


def field_pixels(seed=0):
    """A field whose every crop is different."""
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def make(tmp_path):
    """Writes ``boxes.csv`` with the given lines, and a lossless field for each field that they name."""

    def write(*lines, header=HEADER):
        folder = tmp_path / "bccd"
        (folder / "fields").mkdir(parents=True)
        (folder / "boxes.csv").write_text("\n".join([header, *lines]) + "\n")
        for file in {line.partition(",")[0] for line in lines}:
            Image.fromarray(field_pixels()).save(folder / "fields" / file)
        return folder

    return write


def labels_by_file(dataset):
    return {row["file"]: LABELS[row["label"]] for row in dataset}


class TestCells:
    """Each field with exactly one white cell of known class is one cell."""

    def test_every_class_has_a_label(self, make):
        classes = ["neutrophil", "lymphocyte", "eosinophil", "monocyte", "basophil"]
        dataset = load_bccd(make(*(f"{name}.png,WBC,9,9,99,99,{name}" for name in classes)))
        assert dataset.features == FEATURES
        assert labels_by_file(dataset) == {
            "neutrophil.png": "neutrophil_segmented",
            "lymphocyte.png": "lymphocyte_typical",
            "eosinophil.png": "eosinophil",
            "monocyte.png": "monocyte",
            "basophil.png": "basophil",
        }
        assert set(dataset["domain"]) == {"bccd"}
        assert set(dataset["group"]) == {None}

    def test_other_fields_are_left_out_and_counted(self, make):
        dataset = load_bccd(
            make(
                "a.png,WBC,9,9,99,99,monocyte",
                "a.png,RBC,200,9,299,99,",
                "b.png,WBC,9,9,99,99,monocyte",
                "b.png,WBC,200,9,299,99,",
                "c.png,WBC,9,9,99,99,",
                "d.png,RBC,9,9,99,99,",
            )
        )
        assert dataset["file"][:] == ["a.png"]
        description = "bccd: 1 cells; left out: no class 1, no white cell 1, several white cells 1."
        assert dataset.info.description == description

    def test_a_repeated_row_counts_once(self, make):
        assert len(load_bccd(make(*["a.png,WBC,9,9,99,99,monocyte"] * 2))) == 1

    def test_a_label_map_takes_precedence(self, make):
        folder = make("a.png,WBC,9,9,99,99,neutrophil", "b.png,WBC,9,9,99,99,monocyte")
        dataset = load_bccd(folder, label_map={"neutrophil": "neutrophil_banded", "monocyte": None})
        assert labels_by_file(dataset) == {"a.png": "neutrophil_banded"}
        assert "monocyte 1" in dataset.info.description


class TestCrops:
    """A cell is cropped from its field with its surroundings."""

    @pytest.mark.parametrize(
        ("box", "expected"),
        [
            ((300, 200, 340, 260), (160, 70, 480, 390)),
            ((0, 0, 50, 60), (0, 0, 320, 320)),
            ((600, 440, 640, 480), (320, 160, 640, 480)),
            ((100, 100, 440, 400), (100, 80, 440, 420)),
            ((0, 0, 640, 100), (80, 0, 560, 480)),
        ],
        ids=["centred", "shifted from the top left", "shifted from the bottom right", "wide box", "wider than high"],
    )
    def test_a_square_inside_the_field_is_cropped(self, box, expected, make):
        dataset = load_bccd(make(f"a.png,WBC,{','.join(map(str, box))},monocyte"))
        left, top, right, bottom = expected
        assert crop_box(box, WIDTH, HEIGHT) == expected
        np.testing.assert_array_equal(dataset[0]["image"], field_pixels()[top:bottom, left:right])

    def test_a_small_field_limits_the_crop(self):
        assert crop_box((10, 10, 20, 20), 200, 100) == (0, 0, 100, 100)

    def test_crops_are_stored_as_png(self, make):
        dataset = load_bccd(make("a.png,WBC,9,9,99,99,monocyte")).cast_column("image", datasets.Image(decode=False))
        assert Image.open(io.BytesIO(dataset[0]["image"]["bytes"])).format == "PNG"

    def test_crops_do_not_depend_on_the_current_folder(self, make, monkeypatch):
        folder = make("a.png,WBC,9,9,99,99,monocyte")
        monkeypatch.chdir(folder / "fields")
        assert load_bccd(folder)[0]["image"].size == (CROP_SIDE, CROP_SIDE)

    def test_parquet_keeps_them(self, make, tmp_path):
        dataset = load_bccd(make("a.png,WBC,9,9,99,99,monocyte"))
        save_parquet(dataset, tmp_path / "parquet")
        saved = load_cells(f"lab={tmp_path / 'parquet'}")
        np.testing.assert_array_equal(saved[0]["image"], dataset[0]["image"])


class TestUnreadableFields:
    """Training reports them by name and skips them."""

    @pytest.fixture
    def folder(self, make):
        return make(*(f"{name}.png,WBC,9,9,99,99,monocyte" for name in "abc"))

    @pytest.mark.parametrize(("damage", "reason"), [("remove", "does not exist"), ("truncate", "damaged")])
    def test_the_other_cells_are_stored(self, folder, damage, reason, tmp_path):
        path = folder / "fields" / "b.png"
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:1000])
        store = store_cells([load_bccd(folder)], tmp_path / "store", 32)
        assert store.table.files == ["a.png", "c.png"]
        [message] = store.table.unreadable
        assert message.startswith("bccd: b.png ")
        assert reason in message

    def test_they_are_logged_by_the_loader(self, folder, caplog):
        (folder / "fields" / "b.png").write_bytes(b"junk")
        load_bccd(folder)
        assert "b.png is not an image" in caplog.text


class TestInvalidTables:
    """Errors name the table and the line or the field."""

    @pytest.mark.parametrize("column", HEADER.split(","))
    def test_a_missing_column_is_rejected(self, make, column):
        folder = make("a.png,WBC,9,9,99,99,monocyte", header=HEADER.replace(column, "other"))
        with pytest.raises(DataError, match=rf"boxes\.csv has no column '{column}'. Its first line must read field,"):
            load_bccd(folder)

    @pytest.mark.parametrize("edges", ["9,9,641,99", "9,9,99,481", "700,9,799,99"])
    def test_a_box_outside_its_field_is_rejected(self, make, edges):
        with pytest.raises(DataError, match=r"of a\.png is not inside the field of 640 x 480 pixels"):
            load_bccd(make(f"a.png,WBC,{edges},monocyte"))

    @pytest.mark.parametrize("edges", ["-1,9,99,99", "99,9,9,99", "9,9,99,9"])
    def test_an_empty_or_negative_box_is_rejected(self, make, edges):
        with pytest.raises(DataError, match=r"empty or negative box in line 3"):
            load_bccd(make("a.png,WBC,9,9,99,99,monocyte", f"b.png,WBC,{edges},monocyte"))

    @pytest.mark.parametrize("line", ["a.png,WBC,9,9,x,99,monocyte", "a.png,WBC,9,9,nan,99,", "a.png,WBC,9"])
    def test_edges_that_are_not_numbers_are_rejected(self, make, line):
        with pytest.raises(DataError, match="not whole pixels in line 2"):
            load_bccd(make(line))

    @pytest.mark.parametrize("file", ["", "../a.png", "/a.png", "a\0.png"])
    def test_only_files_in_the_folder_of_fields_are_read(self, make, file):
        folder = make()
        (folder / "boxes.csv").write_text(f"{HEADER}\n{file},WBC,9,9,99,99,monocyte\n")
        with pytest.raises(DataError, match="no file name in fields in line 2"):
            load_bccd(folder)

    def test_an_unknown_class_is_rejected_with_a_proposal(self, make):
        with pytest.raises(DataError, match=r"boxes\.csv has unknown or ambiguous classes: blast.*myeloblast"):
            load_bccd(make("a.png,WBC,9,9,99,99,blast"))

    def test_a_table_without_usable_fields_is_rejected(self, make):
        with pytest.raises(DataError, match="No cell images found"):
            load_bccd(make())

    def test_a_binary_table_is_rejected(self, make):
        folder = make()
        (folder / "boxes.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DataError, match=r"boxes\.csv cannot be read as CSV"):
            load_bccd(folder)


class TestLayout:
    """The layout is a folder ``fields`` beside ``boxes.csv``."""

    def test_it_is_recognized(self, make):
        folder = make("a.png,WBC,9,9,99,99,neutrophil")
        dataset = load_cells(f"lab={folder}")
        assert labels_by_file(dataset) == {"a.png": "neutrophil_segmented"}
        assert dataset["domain"][:] == ["lab"]
        assert provenance_of(dataset) == BCCD

    def test_a_zip_of_the_folder_is_recognized(self, make, tmp_path, monkeypatch):
        monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", tmp_path / "cache")
        folder = make("a.png,WBC,9,9,99,99,monocyte")
        with zipfile.ZipFile(tmp_path / "bccd.zip", "w") as archive:
            for path in (folder / "boxes.csv", folder / "fields" / "a.png"):
                archive.write(path, path.relative_to(folder.parent))
        assert load_cells(f"lab={tmp_path / 'bccd.zip'}")["file"][:] == ["a.png"]

    @pytest.mark.parametrize("missing", ["boxes.csv", "fields"])
    def test_both_parts_are_required(self, make, missing):
        folder = make()
        (folder / missing).rename(folder / "renamed")
        assert not looks_like_bccd(folder)
        with pytest.raises(DataError, match=r"does not contain boxes\.csv and the folder fields"):
            load_bccd(folder)


def test_real_fields_are_cropped(real_data):
    folder = real_data / "bccd"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing.")
    with (folder / "boxes.csv").open() as file:
        rows = list(csv.DictReader(file))
    boxes = defaultdict(list)
    for row in rows:
        if row["cell_class"]:
            boxes[row["field"]].append(row)
    coarse = {"neutrophil": "neutrophil_segmented", "lymphocyte": "lymphocyte_typical"}
    expected = {name: coarse.get(row["cell_class"], row["cell_class"]) for name, (row,) in boxes.items()}
    dataset = load_bccd(folder)
    assert labels_by_file(dataset.remove_columns("image")) == expected
    assert dataset.info.description.startswith(f"bccd: {len(expected)} cells; left out: ")
    left_out = Counter(row["field"] for row in rows).keys() - expected.keys()
    counts = dataset.info.description.rstrip(".").partition("left out: ")[2].split(", ")
    assert sum(int(count.split()[-1]) for count in counts) == len(left_out)
    for row in dataset.select(range(0, len(dataset), 50)):
        (box,) = boxes[row["file"]]
        area = crop_box(tuple(int(box[edge]) for edge in ("xmin", "ymin", "xmax", "ymax")), WIDTH, HEIGHT)
        crop = read_image(folder / "fields" / row["file"]).crop(area)
        assert row["image"].size in {(side, side) for side in range(CROP_SIDE, HEIGHT + 1)}
        np.testing.assert_array_equal(row["image"], crop)
