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
