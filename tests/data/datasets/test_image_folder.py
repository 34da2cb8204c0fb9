"""`load_folder`: class names are recognized, mapped, or rejected with a proposal."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.data import FEATURES, load_folder
from bc_sam.data.images import IMAGE_SUFFIXES
from bc_sam.data.names.recognition import find_label
from bc_sam.data.names.table import ACEVEDO20_CODES, MATEK19_CODES, SYNONYMS
from bc_sam.errors import DataError


@pytest.fixture
def make(tmp_path):
    """Writes small images at the given paths and returns their common folder."""

    def write(*files):
        for file in files:
            path = tmp_path / "cells" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(path)
        return tmp_path / "cells"

    return write


def labels_by_file(dataset):
    names = [None if label is None else LABELS[label] for label in dataset["label"]]
    return dict(zip(dataset["file"], names, strict=True))


def test_each_subfolder_is_a_class(make):
    dataset = load_folder(make("monocyte/1.png", "Smudge cells/2.png"), domain="site_7")
    assert dataset.features == FEATURES
    assert labels_by_file(dataset) == {"monocyte/1.png": "monocyte", "Smudge cells/2.png": "smudge_cell"}
    assert set(dataset["domain"]) == {"site_7"}


def test_a_flat_folder_is_unlabelled(make):
    assert labels_by_file(load_folder(make("1.png", "2.jpg"), domain="x")) == {"1.png": None, "2.jpg": None}


def test_folders_with_a_single_subfolder_are_descended(make):
    assert labels_by_file(load_folder(make("a/b/monocyte/1.png", "a/b/EOS/2.png"), domain="x")) == {
        "EOS/2.png": "eosinophil",
        "monocyte/1.png": "monocyte",
    }


def test_a_class_may_have_subfolders(make):
    assert labels_by_file(load_folder(make("monocyte/slide_1/1.png"), domain="x")) == {
        "monocyte/slide_1/1.png": "monocyte"
    }


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *[(code, label) for codes in (MATEK19_CODES, ACEVEDO20_CODES) for code, label in codes.items() if label],
        *[(name, label) for label, names in SYNONYMS.items() for name in names],
        ("Segmented Neutrophils", "neutrophil_segmented"),
        ("lymphocyte-typical", "lymphocyte_typical"),
        ("AtypicalLymphocytes", "lymphocyte_atypical"),
    ],
)
def test_codes_and_synonyms_are_recognized(name, label):
    assert find_label(name) == label


@given(st.sampled_from(LABELS), st.sampled_from(" _-."), st.booleans(), st.booleans(), st.sampled_from(("", "s")))
def test_case_separator_word_order_and_plural_are_ignored(label, separator, upper, swap, plural):
    words = label.split("_")[:: -1 if swap else 1]
    name = separator.join(words) + plural
    assert find_label(name.upper() if upper else name) == label


@pytest.mark.parametrize("name", ["neutrophil", "lymphocytes", "blast", "IG", "platelet", "PMB", "cells", ""])
def test_ambiguous_names_are_not_guessed(name):
    assert find_label(name) is None


def test_an_ambiguous_folder_is_rejected_with_a_proposal(make):
    folder = make("neutrophil/1.png", "lymphocytes/2.png", "platelets/3.png", "monocyx/4.png")
    with pytest.raises(DataError) as caught:
        load_folder(folder, domain="x")
    message = str(caught.value)
    assert all(label in message for label in LABELS)
    assert "label_map" in message
    assert "'neutrophil': 'neutrophil_segmented'" in message
    assert "'lymphocytes': 'lymphocyte_typical'" in message
    assert "'platelets': None" in message
    assert "'monocyx'" not in message
    assert "Nothing is proposed for monocyx: name the class, or exclude it." in message


def test_a_label_map_renames_and_excludes_classes(make):
    folder = make("Neutrophil/1.png", "debris/2.png", "monocyte/3.png")
    dataset = load_folder(folder, domain="x", label_map={"neutrophil": "neutrophil_banded", "debris": None})
    assert labels_by_file(dataset) == {"Neutrophil/1.png": "neutrophil_banded", "monocyte/3.png": "monocyte"}
    assert dataset.info.description == "x: 2 cells; left out: debris 1."


def test_a_label_map_with_an_unknown_class_is_rejected(make):
    with pytest.raises(DataError, match=r"'neutrofil'\. Choose one of basophil"):
        load_folder(make("a/1.png"), domain="x", label_map={"a": "neutrofil"})


def test_images_beside_subfolders_are_rejected(make):
    with pytest.raises(DataError, match="beside the subfolders monocyte"):
        load_folder(make("monocyte/1.png", "2.png"), domain="x")


def test_an_empty_folder_is_rejected(tmp_path):
    with pytest.raises(DataError, match="No cell image"):
        load_folder(tmp_path, domain="x")


def test_the_group_is_read_from_the_file_name(make, caplog):
    folder = make("monocyte/s1_1.png", "monocyte/s1_2.png", "monocyte/s2_1.png", "monocyte/nameless.png")
    dataset = load_folder(folder, domain="x", group_pattern=r"^([^_]+)_")
    groups = {Path(row["file"]).stem: row["group"] for row in dataset}
    assert groups == {"s1_1": "s1", "s1_2": "s1", "s2_1": "s2", "nameless": None}
    assert "does not match 1 of 4" in caplog.text


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "not a valid regular expression"),
        ("^[^_]+_", "has no group"),
        ("(xyz)", "matches no file name, such as '1.png'"),
    ],
)
def test_an_invalid_group_pattern_is_rejected(make, pattern, message):
    with pytest.raises(DataError, match=message):
        load_folder(make("monocyte/1.png"), domain="x", group_pattern=pattern)


def test_real_images_are_loaded_with_their_slides(real_data):
    label_map = {"neutrophil": "neutrophil_segmented", "lymphocyte": "lymphocyte_typical"}
    dataset = load_folder(real_data / "new_hospital", domain="x", label_map=label_map, group_pattern=r"^([^_]+)_")
    files = [path.name for path in (real_data / "new_hospital").rglob("*.*") if path.suffix.lower() in IMAGE_SUFFIXES]
    assert len(dataset) == len(files) > 0
    assert set(dataset["group"]) == {name.partition("_")[0] for name in files}
    with pytest.raises(DataError, match="'neutrophil': 'neutrophil_segmented'"):
        load_folder(real_data / "new_hospital", domain="x")
