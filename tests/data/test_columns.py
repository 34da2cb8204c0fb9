"""`conform` maps classes by name, fills missing columns and rejects everything else."""

import io

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.data import FEATURES
from bc_sam.data.columns import conform
from bc_sam.data.reading_options import ReadingOptions
from bc_sam.errors import DataError


def png(grey=0):
    stream = io.BytesIO()
    Image.new("L", (4, 4), grey).save(stream, "PNG")
    return stream.getvalue()


def make(labels=None, label=None, **columns):
    """A data set with images, and labels of the given feature."""
    features = {"image": Value("binary")}
    n = len(labels) if labels is not None else 2
    if labels is not None:
        features["label"], columns["label"] = label, labels
    for column in set(columns) - {"label"}:
        features[column] = Value("string")
    return Dataset.from_dict({"image": [png(i) for i in range(n)], **columns}, features=Features(features))


def names(dataset):
    return [None if label is None else LABELS[label] for label in dataset["label"]]


@given(st.permutations(LABELS), st.lists(st.none() | st.integers(0, 12), min_size=1, max_size=8))
@settings(max_examples=15)
def test_classes_are_mapped_by_name_regardless_of_their_order(order, labels):
    dataset = conform(make(labels, ClassLabel(names=order)), "x")
    assert dataset.features == FEATURES
    assert names(dataset) == [None if label is None else order[label] for label in labels]


def test_class_names_may_be_strings_and_synonyms():
    assert names(conform(make(["EOS", None, "Monocytes"], Value("string")), "x")) == ["eosinophil", None, "monocyte"]


def test_minus_one_means_unlabelled():
    assert names(conform(make([-1, 0], ClassLabel(names=["monocyte"])), "x")) == [None, "monocyte"]


def test_missing_columns_are_filled_and_others_dropped():
    dataset = conform(make(notes=["a", "b"]), "site_7")
    assert dataset.column_names == list(FEATURES)
    row = dataset[1]
    assert row.pop("image").getpixel((0, 0)) == 1
    assert row == {"label": None, "domain": "site_7", "mask": None, "group": None, "file": None}


def test_existing_columns_are_kept():
    dataset = conform(make(domain=["a", "b"], group=["s1", None], file=["1.png", "2.png"]), "x")
    assert (dataset["domain"][:], dataset["group"][:]) == (["a", "b"], ["s1", None])
    assert dataset["file"][:] == ["1.png", "2.png"]


def test_a_label_map_renames_and_excludes_classes():
    dataset = conform(
        make(["neutrophil", "debris", None], Value("string")),
        "x",
        {"neutrophil": "neutrophil_segmented", "debris": None},
    )
    assert names(dataset) == ["neutrophil_segmented", None]
    assert [image.getpixel((0, 0)) for image in dataset["image"]] == [0, 2]


def test_an_unknown_class_is_rejected_with_a_proposal():
    with pytest.raises(
        DataError, match=r"x has unknown or ambiguous classes: neutrophil.*'neutrophil': 'neutrophil_segmented'"
    ):
        conform(make(["neutrophil"], Value("string")), "x")


def test_class_indices_without_names_are_rejected():
    with pytest.raises(DataError, match="labels of x are int64, not class names"):
        conform(make([3], Value("int64")), "x")


def test_a_missing_image_column_is_rejected():
    with pytest.raises(DataError, match="x has the columns text, but no column image"):
        conform(Dataset.from_dict({"text": ["a"]}), "x")


def test_an_image_column_without_images_is_rejected():
    with pytest.raises(DataError, match="Column image of x contains int64"):
        conform(Dataset.from_dict({"image": [1, 2]}), "x")


def test_a_conforming_data_set_is_unchanged():
    dataset = conform(make(["EOS"], Value("string")), "x")
    assert conform(dataset, "y")[0]["domain"] == "x"
    assert conform(dataset, "y").cast_column("image", ImageFeature(decode=False))[0]["image"]["bytes"] == png()


class TestOtherColumns:
    """Columns under other names, and labels in other forms."""

    def set_of(self, **columns):
        return Dataset.from_dict({"image": [{"bytes": png(i), "path": None} for i in range(2)], **columns})

    def test_labels_patients_and_files_are_found_under_their_usual_names(self):
        dataset = conform(self.set_of(labels=["EOS", "mono"], patient_hash=["a", "b"], image_id=[7, 8]), "x")
        assert names(dataset) == ["eosinophil", "monocyte"]
        assert (dataset["group"][:], dataset["file"][:]) == (["a", "b"], ["7", "8"])

    def test_columns_can_be_named(self):
        options = ReadingOptions(columns={"image": "image", "label": "kind", "group": "donor_x"})
        dataset = conform(self.set_of(label=["?", "?"], kind=["EOS", "mono"], donor_x=[1, 2]), "x", None, options)
        assert names(dataset) == ["eosinophil", "monocyte"]
        assert dataset["group"][:] == ["1", "2"]

    def test_a_column_that_does_not_exist_is_rejected(self):
        with pytest.raises(DataError, match="no column 'kind', but image, label"):
            conform(self.set_of(label=["EOS", "EOS"]), "x", None, ReadingOptions(columns={"label": "kind"}))

    def test_an_unknown_role_is_rejected(self):
        with pytest.raises(
            DataError, match=r"no column 'cell' to set\. Choose one of image, file, label, group, mask"
        ):
            ReadingOptions(columns={"cell": "x"})

    def test_numbers_are_named_by_the_label_map_or_a_column_beside_them(self):
        numbers = self.set_of(label=[0, 1])
        assert names(conform(numbers, "x", {"0": "eosinophil", "1": "monocyte"})) == ["eosinophil", "monocyte"]
        with pytest.raises(DataError, match="--map 0=CLASS --map 1=CLASS"):
            conform(numbers, "x")
        beside = self.set_of(label=[0, 1], label_name=["EOS", "mono"])
        assert names(conform(beside, "x")) == ["eosinophil", "monocyte"]

    def test_a_label_map_counts_for_canonical_names_too(self):
        dataset = conform(self.set_of(label=["EOS", "mono"]), "x")
        assert names(conform(dataset, "x", {"monocyte": None})) == ["eosinophil"]

    def test_a_label_map_that_matches_nothing_is_rejected(self):
        with pytest.raises(DataError, match="names xyz, but the classes are EOS, mono"):
            conform(self.set_of(label=["EOS", "mono"]), "x", {"xyz": None})

    def test_a_group_pattern_is_searched_in_the_column_of_files(self):
        options = ReadingOptions(group_pattern="^([^_]+)_")
        dataset = conform(self.set_of(file=["s1_1.png", "s2_2.png"]), "x", None, options)
        assert dataset["group"][:] == ["s1", "s2"]
