"""`load_matek19` on small archives in the published layout, and on real images."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import Image as ImageFeature
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.data import FEATURES, load_matek19
from bc_sam.data.datasets.matek import MATEK19_CODES
from bc_sam.data.images import find_images, read_image
from bc_sam.errors import DataError


@pytest.fixture
def archive(tmp_path):
    """One RGBA TIFF per code, as in the published archive."""
    root = tmp_path / "download" / "AML-Cytomorphology"
    for code in MATEK19_CODES:
        (root / code).mkdir(parents=True)
        Image.new("RGBA", (400, 400), (200, 150, 220, 255)).save(root / code / f"{code}_0001.tiff")
    return root


def names(dataset):
    return [None if label is None else LABELS[label] for label in dataset["label"]]


@pytest.mark.parametrize("levels_above", [0, 1, 2])
def test_the_class_is_the_folder_at_any_depth(archive, levels_above):
    source = [archive, *archive.parents][levels_above]
    dataset = load_matek19(source)
    assert dataset.features == FEATURES
    assert dataset.column_names == list(FEATURES)
    expected = {f"{code}/{code}_0001.tiff": label for code, label in MATEK19_CODES.items() if label}
    assert dict(zip(dataset["file"], names(dataset), strict=True)) == expected
    assert set(dataset["domain"]) == {"matek19"}
    assert set(dataset["group"]) == {None}


def test_the_excluded_code_is_counted(archive):
    assert load_matek19(archive).info.description == "matek19: 14 cells; left out: PMB 1."


def test_images_are_referenced_by_path(archive):
    row = load_matek19(archive).cast_column("image", ImageFeature(decode=False))[0]["image"]
    assert row["bytes"] is None
    assert Path(row["path"]) == archive / "BAS" / "BAS_0001.tiff"
    assert read_image(row).size == (400, 400)


def test_an_unknown_folder_is_rejected_with_the_valid_codes(archive):
    (archive / "XYZ").mkdir()
    Image.new("RGB", (4, 4)).save(archive / "XYZ" / "XYZ_1.png")
    with pytest.raises(DataError, match=r"XYZ_1\.png .* none of the codes BAS, EOS, .* PMB"):
        load_matek19(archive)


def test_a_folder_without_codes_is_rejected(tmp_path):
    with pytest.raises(DataError, match="No folder of Matek-19"):
        load_matek19(tmp_path)


def test_a_missing_source_is_rejected(tmp_path):
    with pytest.raises(DataError, match=r"gone does not exist"):
        load_matek19(tmp_path / "gone")


def test_other_files_of_the_archive_are_ignored(archive):
    (archive.parent / "annotations.dat").write_text("AML-Cytomorphology/BAS/BAS_0001.tiff BAS")
    (archive / "BAS" / "notes.txt").touch()
    assert len(load_matek19(archive.parent)) == 14


def test_real_images_are_loaded_with_labels_and_masks(real_data):
    dataset = load_matek19(real_data / "matek19", masks=real_data / "masks" / "pairs.csv")
    codes = Counter(path.parent.name for path in find_images(real_data / "matek19"))
    left_out = codes.pop("PMB")
    assert dataset.info.description == f"matek19: {codes.total()} cells; left out: PMB {left_out}."
    assert Counter(names(dataset)) == sum((Counter({MATEK19_CODES[code]: n}) for code, n in codes.items()), Counter())
    with (real_data / "masks" / "pairs.csv").open() as file:
        masked = [Path(row["image"]) for row in csv.DictReader(file) if row["image"].startswith("matek19/")]
    expected = sum(MATEK19_CODES[path.parent.name] is not None for path in masked)
    assert sum(mask is not None for mask in dataset.data.column("mask").to_pylist()) == expected > 0
    undecoded = dataset.cast_column("image", ImageFeature(decode=False))
    assert {read_image(image).mode for image in undecoded["image"][::20]} == {"RGB"}


def test_dropping_alpha_keeps_pixels_of_the_cell(real_data):
    """The upper edge of the cell in this file is transparent."""
    path = real_data / "matek19" / "AML-Cytomorphology" / "MYB" / "MYB_0027.tiff"
    hidden = np.asarray(Image.open(path))[..., 3] == 0
    assert hidden.any()
    assert np.asarray(read_image(path))[hidden].std() > 20
