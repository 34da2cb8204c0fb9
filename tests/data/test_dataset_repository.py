"""A data set becomes a folder for the Hub: what is left out, how it is split, and what its card says."""

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
    """Writes the repository of a data set and returns its splits, its card and the numbers that were told."""

    def publish(cells, **options):
        out = tmp_path / "out"
        told = write_dataset_repository(cells, out, template, repo_id="me/cells", codes=CODES, **options)
        return load_dataset(str(out)), (out / "README.md").read_text(), told

    return publish


def cells(n, *, broken=(), **columns):
    """Images of noise, each unlike all others; the broken ones are no images."""
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


def test_the_splits_hold_every_image_once_with_its_bytes(publish):
    given_cells = cells(10)
    splits, _, told = publish(given_cells)
    assert told == splits.num_rows == {"train": 8, "test": 2}
    found = {row["file"]: row["image"] for split in splits.values() for row in split}
    assert found.keys() == set(given_cells["file"])
    for row in given_cells:
        np.testing.assert_array_equal(np.asarray(found[row["file"]]), np.asarray(row["image"]))


def test_annotated_masks_are_omitted(publish):
    splits, _, _ = publish(cells(5))
    assert splits["train"].features == FEATURES
    assert {mask for split in splits.values() for mask in split["mask"]} == {None}


def test_a_slide_lies_on_one_side(publish):
    slides = [f"slide {i % 7}" for i in range(28)]
    splits, _, _ = publish(cells(28, group=slides))
    assert not set(splits["train"]["group"]) & set(splits["test"]["group"])


def test_the_same_seed_gives_the_same_split_and_another_one_another(template, tmp_path):
    def tested(name, seed):
        write_dataset_repository(cells(40), tmp_path / name, template, repo_id="me/cells", codes=CODES, seed=seed)
        return load_dataset(str(tmp_path / name), split="test")["file"][:]

    assert tested("a", 1) == tested("b", 1) != tested("c", 2)


def test_what_cannot_be_read_is_left_out_and_named_in_the_card(publish, caplog):
    splits, card, told = publish(cells(12, broken={0, 7}))
    assert sum(told.values()) == sum(splits.num_rows.values()) == 10
    assert "cell_0.png" in card
    assert "cell_7.png" in card
    assert "cell_1.png" not in card
    assert caplog.text.count("Left out") == 2


def test_the_card_counts_each_class_by_its_codes_and_not_the_unlabelled(publish):
    labels = ["basophil"] * 5 + ["monocyte"] * 5 + [None] * 5
    _, card, _ = publish(cells(15, label=labels))
    assert "{'name': 'basophil', 'codes': ['BAS'], 'train': 4, 'test': 1}" in card
    assert "{'name': 'monocyte', 'codes': ['MON', 'MOB'], 'train': 4, 'test': 1}" in card
    assert sum(f"'{label}'" in card for label in LABELS) == 2
    assert "me/cells n<1K" in card


@given(st.integers(1, 999_999))
def test_the_size_category_holds_the_number(n):
    numbers = {"K": 1_000, "M": 1_000_000}
    bounds = [part for part in _size_category(n).split("<") if part != "n"]
    limits = [int(part[:-1]) * numbers[part[-1]] for part in bounds]
    assert n < limits[-1]
    assert len(limits) == 1 or limits[0] <= n


def test_a_folder_that_holds_something_is_left_alone(publish, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        publish(cells(5))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"broken": set(range(6))}, r"Not one image can be read; the first: .*cell_0\.png"),
        ({"group": ["one slide"] * 6}, "1 independent groups"),
    ],
)
def test_what_makes_no_two_splits_is_refused_before_anything_is_written(publish, tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        publish(cells(6, **columns))
    assert not (tmp_path / "out").exists()


def test_an_empty_data_set_is_refused(publish):
    with pytest.raises(DataError, match="there is none"):
        publish(cells(1).select([]))


def test_a_field_that_a_template_asks_for_in_vain_is_an_error(publish, template):
    template.write_text("{{ no_such_field }}")
    with pytest.raises(UndefinedError, match="no_such_field"):
        publish(cells(5))
