"""`mask_problem` flags masks that are unlikely to be one whole cell, and no plausible ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.data import load_rendered
from bc_sam.data.images import read_mask
from bc_sam.data.mask_quality import COMMON_SCALE, WHOLE_IMAGE, mask_limits, mask_problem

SIDE = 96


def ellipse(centre=(48, 48), axes=(24, 18)):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((rows - centre[0]) / axes[0]) ** 2 + ((columns - centre[1]) / axes[1]) ** 2 <= 1


@given(st.integers(12, 40), st.integers(12, 40), st.integers(40, 56), st.integers(40, 56))
def test_a_round_cell_has_no_problem(height, width, row, column):
    assert mask_problem(ellipse((row, column), (height, width))) is None


def test_rendered_cells_have_no_problem():
    cells = load_rendered("barcelona", cells_per_class=2)
    assert [mask_problem(read_mask(cell["mask"], 224) > 0) for cell in cells] == [None] * len(cells)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((SIDE, SIDE), bool), "no cell"),
        (ellipse(axes=(3, 3)), "too small"),
        (np.ones((SIDE, SIDE), bool), "fills the image"),
        (ellipse((48, 0), (70, 40)), "cut off"),
        (
            np.pad(np.ones((2, 80), bool), ((40, 54), (8, 8))) | np.pad(np.ones((80, 2), bool), ((8, 8), (40, 54))),
            "ragged",
        ),
    ],
)
def test_an_implausible_mask_is_reported_with_its_problem(mask, reason):
    assert reason in mask_problem(mask)


def test_annotated_masks_of_real_white_cells_have_no_problem(real_data):
    import csv

    with (real_data / "masks" / "pairs.csv").open() as file:
        masks = [row["mask"] for row in csv.DictReader(file) if "PLATELET" not in row["mask"]]
    problems = [mask_problem(read_mask(real_data / mask, 224) > 0) for mask in masks]
    assert len(problems) > 200
    assert set(problems) == {None}


def test_at_a_common_scale_a_cell_may_fill_most_of_the_square():
    large = _disc(112, 54)
    assert mask_problem(large, WHOLE_IMAGE) == "the cell fills the image"
    assert mask_problem(large, COMMON_SCALE) is None
    assert mask_problem(np.ones((112, 112), bool), COMMON_SCALE) == "the cell fills the image"
    assert mask_limits(normalized=True) == COMMON_SCALE
    assert mask_limits(normalized=False) == WHOLE_IMAGE


def _disc(size, radius):
    row, column = np.ogrid[:size, :size]
    return np.hypot(row - size / 2, column - size / 2) < radius
