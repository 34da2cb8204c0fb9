"""`load_acevedo20` on small archives in the published layout, and on real images."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.data import FEATURES, load_acevedo20
from bc_sam.data.datasets.acevedo import ACEVEDO20_CODES
from bc_sam.data.images import find_images, read_image, to_square
from bc_sam.errors import DataError

SIZES = ((360, 363), (366, 369), (360, 360))


@pytest.fixture
def archive(tmp_path):
    """One JPEG per prefix, with the three image sizes and the coarse folders of the published archive."""
    root = tmp_path / "download" / "PBC_dataset_normal_DIB"
    for i, prefix in enumerate(ACEVEDO20_CODES):
        folder = root / ("ig" if prefix in ("IG", "PMY", "MY", "MMY") else f"folder_{prefix.lower()}")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZES[i % 3], (220, 180, 210)).save(folder / f"{prefix}_10{i}.jpg")
    return root


@pytest.mark.parametrize("levels_above", [0, 1, 2])
def test_the_class_is_the_prefix_at_any_depth(archive, levels_above):
    dataset = load_acevedo20([archive, *archive.parents][levels_above], domain="barcelona")
    assert dataset.features == FEATURES
    read = {Path(row["file"]).stem.split("_")[0]: LABELS[row["label"]] for row in dataset}
    assert read == {prefix: label for prefix, label in ACEVEDO20_CODES.items() if label}
    assert set(dataset["domain"]) == {"barcelona"}


def test_excluded_prefixes_are_counted(archive):
    description = load_acevedo20(archive).info.description
    assert description == "acevedo20: 10 cells; left out: IG 1, NEUTROPHIL 1, PLATELET 1."


def test_images_of_all_sizes_are_resized(archive):
    images = load_acevedo20(archive)["image"]
    assert {image.size for image in images} == set(SIZES)
    assert {to_square(read_image(image), 224).shape for image in images} == {(224, 224, 3)}


def test_an_unknown_prefix_is_rejected_with_the_valid_ones(archive):
    Image.new("RGB", (4, 4)).save(archive / "ig" / "XY_1.jpg")
    with pytest.raises(DataError, match=r"XY_1\.jpg .* none of the codes BA, EO, .* PLATELET"):
        load_acevedo20(archive)


def test_hidden_files_are_skipped(archive):
    (archive / "ig" / ".DS_169665.jpg").write_bytes(b"junk")
    assert len(load_acevedo20(archive)) == 10


def test_an_empty_folder_is_rejected(tmp_path):
    with pytest.raises(DataError, match="No cell image"):
        load_acevedo20(tmp_path)


def test_real_images_are_loaded_with_labels_and_masks(real_data):
    dataset = load_acevedo20(real_data / "acevedo20", masks=real_data / "masks" / "pairs.csv")
    codes = Counter(path.name.partition("_")[0].upper() for path in find_images(real_data / "acevedo20"))
    left_out = ", ".join(f"{code} {codes.pop(code)}" for code in ("IG", "NEUTROPHIL", "PLATELET"))
    assert dataset.info.description == f"acevedo20: {codes.total()} cells; left out: {left_out}."
    expected = {ACEVEDO20_CODES[code]: n for code, n in codes.items()}
    assert Counter(LABELS[label] for label in dataset["label"]) == expected
    with (real_data / "masks" / "pairs.csv").open() as file:
        masked = [Path(row["image"]).name for row in csv.DictReader(file) if row["image"].startswith("acevedo20/")]
    expected = sum(ACEVEDO20_CODES[name.partition("_")[0].upper()] is not None for name in masked)
    assert sum(name is not None for name in dataset.data.column("mask").to_pylist()) == expected > 0
