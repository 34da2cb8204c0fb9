"""The white cell's outline is found, and red cells are not taken for nuclei."""

import numpy as np
import pytest
from drawn_smear import draw_smear

from bc_sam.data.appearance.light import optical_density, white_point
from bc_sam.data.appearance.magnification import measure
from bc_sam.data.appearance.white_cell import find_nuclei, find_white_cell
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell


@pytest.mark.parametrize(("side", "diameter"), [(200, 70), (400, 130), (600, 250)])
def test_diameter_and_centre_are_those_drawn(side, diameter):
    found = measure(draw_smear(side, diameter / 1.9, white_cell=diameter, white_cells=((0.45, 0.55),)))
    assert found.white_cell_px == pytest.approx(diameter, rel=0.08)
    assert found.centre == pytest.approx((0.45 * side, 0.55 * side), abs=0.02 * side)


def test_of_several_cells_the_most_central_one_counts():
    found = measure(draw_smear(white_cell=100, n_red_cells=0, white_cells=((0.2, 0.2), (0.5, 0.52), (0.8, 0.8))))
    assert found.n_white_cells == 3
    assert found.centre == pytest.approx((200, 208), abs=6)
    assert found.white_cell_px == pytest.approx(100, rel=0.08)


@pytest.mark.parametrize("name", LABORATORIES)
def test_nuclei_are_within_the_white_cell_also_where_red_cells_are_dark(name):
    image, mask = render_cell("neutrophil_segmented", LABORATORIES[name], np.random.default_rng(0), 176)
    nuclei = find_nuclei(optical_density(image, white_point(image)))
    assert (nuclei & (mask > 0)).sum() > 0.9 * nuclei.sum()
    assert (nuclei & (mask == 2)).sum() > 0.7 * (mask == 2).sum()


def test_there_is_none_without_a_nucleus():
    density = optical_density(draw_smear(176, 40, white_cells=()), (235.0, 230.0, 228.0))
    assert find_white_cell(density, np.zeros(density.shape[:2], bool), None) is None


def test_what_fills_the_image_is_no_cell():
    assert measure(np.full((80, 80, 3), (188, 172, 212), np.uint8)).white_cell_px is None
    assert measure(draw_smear(100, n_red_cells=0, white_cell=190)).white_cell_px is None
