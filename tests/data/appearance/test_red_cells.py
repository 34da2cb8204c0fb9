"""Red cells are found as circles, and their diameter is right whatever the magnification and the light."""

import numpy as np
import pytest
from drawn_smear import draw_smear

from bc_sam.data.appearance.light import optical_density, white_point
from bc_sam.data.appearance.magnification import measure
from bc_sam.data.appearance.red_cells import find_red_cells


@pytest.mark.parametrize(("side", "diameter"), [(220, 40), (300, 55), (400, 70), (500, 90), (600, 110)])
def test_diameter_is_recovered_within_6_percent(side, diameter):
    found = measure(draw_smear(side, diameter, white_cell=1.9 * diameter))
    assert found.n_red_cells >= 3
    assert found.red_cell_px == pytest.approx(diameter, rel=0.06)


@pytest.mark.parametrize(
    "gain",
    [(1, 0.9, 0.75), (0.75, 0.9, 1), (0.6, 0.6, 0.6), (0.9, 0.7, 0.9)],
    ids=["yellow", "blue", "dark", "magenta"],
)
def test_diameter_does_not_depend_on_the_white_balance(gain):
    assert measure(draw_smear(gain=gain)).red_cell_px == pytest.approx(70, rel=0.06)


@pytest.mark.parametrize("channels", [(0, 2, 1), (1, 1, 1), (1, 2, 2)], ids=["swapped", "grey", "cyan"])
def test_diameter_does_not_depend_on_the_hue(channels):
    image = draw_smear(176, 40, n_red_cells=10, white_cells=())[..., channels]
    density = optical_density(image, white_point(image))
    assert find_red_cells(density, np.zeros((176, 176), bool)).median_diameter == pytest.approx(40, rel=0.06)


def test_overlapping_and_cut_off_cells_count():
    row, column = np.ogrid[:160, :160]
    discs = [np.hypot(row - y, column - x) < 22 for y, x in ((50, 40), (50, 75), (156, 110), (110, 2))]
    density = np.repeat((0.3 * np.any(discs, axis=0)).astype(np.float32)[..., None], 3, axis=2)
    found = find_red_cells(density, np.zeros((160, 160), bool))
    assert len(found) == 4
    assert found.median_diameter == pytest.approx(44, rel=0.06)


def test_a_circle_with_a_nucleus_is_no_red_cell():
    row, column = np.ogrid[:160, :160]
    distance = np.hypot(row - 80, column - 80)
    density = np.repeat((0.3 * (distance < 25)).astype(np.float32)[..., None], 3, axis=2)
    assert len(find_red_cells(density, distance < 0)) == 1
    assert len(find_red_cells(density, distance < 12)) == 0


def test_there_are_none_on_empty_glass():
    found = find_red_cells(np.zeros((100, 100, 3), np.float32), np.zeros((100, 100), bool))
    assert len(found) == 0
    assert found.median_diameter is None
