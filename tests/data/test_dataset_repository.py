"""`write_dataset_repository`: exclusions, splits and the card of a published data set."""

import io

import numpy as np
import pytest
from datasets import Dataset, load_dataset
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.data import FEATURES
from bc_sam.data.dataset_repository import _size_category, write_dataset_repository
from bc_sam.errors import DataError

CODES = {"MON": "monocyte", "MOB": "monocyte", "BAS": "basophil", "PMB": None}
CARD = "{{ classes }} {{ sizes }} {{ left_out }} {{ unreadable | join }} {{ repo_id }} {{ size_category }}"


@pytest.fixture
def template(tmp_path):
    (tmp_path / "card.md").write_text(CARD)
    return tmp_path / "card.md"


@pytest.fixture
def publish(template, tmp_path):
    """Writes the repository of a data set, and returns its splits, its card and the returned sizes."""

    def publish(cells, **options):
        out = tmp_path / "out"
        sizes = write_dataset_repository(cells, out, template, repo_id="me/cells", codes=CODES, **options)
        return load_dataset(str(out)), (out / "README.md").read_text(), sizes

    return publish


def cells(n, *, broken=(), **columns):
    """A data set of distinct noise images; the broken ones cannot be read."""
    rows = [
        {
            "image": {"bytes": b"no image" if i in broken else noise(i), "path": f"cell_{i}.png"},
            "label": "monocyte",
            "domain": "here",
            "mask": {"bytes": noise(i), "path": None},
            "group": None,
            "file": f"cell_{i}.png",
        }
        for i in range(n)
    ]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return Dataset.from_list(rows, features=FEATURES)


def noise(seed):
    pixels = np.random.default_rng(seed).integers(256, size=(3, 3, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((48, 48), Image.Resampling.NEAREST).save(stream, "PNG")
    return stream.getvalue()


def test_the_splits_contain_every_image_once(publish):
    given_cells = cells(10)
    splits, _, sizes = publish(given_cells)
    assert sizes == splits.num_rows == {"train": 8, "test": 2}
    found = {row["file"]: row["image"] for split in splits.values() for row in split}
    assert found.keys() == set(given_cells["file"])
    for row in given_cells:
        np.testing.assert_array_equal(np.asarray(found[row["file"]]), np.asarray(row["image"]))


def test_annotated_masks_are_omitted(publish):
    splits, _, _ = publish(cells(5))
    assert splits["train"].features == FEATURES
    assert {mask for split in splits.values() for mask in split["mask"]} == {None}


def test_a_slide_is_in_one_split(publish):
    slides = [f"slide {i % 7}" for i in range(28)]
    splits, _, _ = publish(cells(28, group=slides))
    assert not set(splits["train"]["group"]) & set(splits["test"]["group"])


def test_the_split_depends_on_the_seed_only(template, tmp_path):
    def test_files(name, seed):
        write_dataset_repository(cells(40), tmp_path / name, template, repo_id="me/cells", codes=CODES, seed=seed)
        return load_dataset(str(tmp_path / name), split="test")["file"][:]

    assert test_files("a", 1) == test_files("b", 1) != test_files("c", 2)


def test_unreadable_images_are_skipped_and_listed_in_the_card(publish, caplog):
    splits, card, sizes = publish(cells(12, broken={0, 7}))
    assert sum(sizes.values()) == sum(splits.num_rows.values()) == 10
    assert "cell_0.png" in card
    assert "cell_7.png" in card
    assert "cell_1.png" not in card
    assert caplog.text.count("Skipped") == 2


def test_the_card_counts_labelled_images_per_class_with_its_codes(publish):
    labels = ["basophil"] * 5 + ["monocyte"] * 5 + [None] * 5
    _, card, _ = publish(cells(15, label=labels))
    assert "{'name': 'basophil', 'codes': ['BAS'], 'train': 4, 'test': 1}" in card
    assert "{'name': 'monocyte', 'codes': ['MON', 'MOB'], 'train': 4, 'test': 1}" in card
    assert sum(f"'{label}'" in card for label in LABELS) == 2
    assert "me/cells n<1K" in card


@given(st.integers(1, 999_999))
def test_the_size_category_contains_the_number_of_images(n):
    units = {"K": 1_000, "M": 1_000_000}
    bounds = [part for part in _size_category(n).split("<") if part != "n"]
    limits = [int(part[:-1]) * units[part[-1]] for part in bounds]
    assert n < limits[-1]
    assert len(limits) == 1 or limits[0] <= n


def test_a_folder_that_is_not_empty_is_rejected_and_unchanged(publish, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        publish(cells(5))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"broken": set(range(6))}, r"No image can be read\. First error: .*cell_0\.png"),
        ({"group": ["one slide"] * 6}, "1 independent groups"),
    ],
)
def test_too_few_images_to_split_are_rejected_before_anything_is_written(publish, tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        publish(cells(6, **columns))
    assert not (tmp_path / "out").exists()


def test_an_empty_data_set_is_rejected(publish):
    with pytest.raises(DataError, match="the data set is empty"):
        publish(cells(1).select([]))


def test_an_undefined_field_in_the_template_is_an_error(publish, template):
    template.write_text("{{ no_such_field }}")
    with pytest.raises(UndefinedError, match="no_such_field"):
        publish(cells(5))
