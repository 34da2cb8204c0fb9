"""The white cell's outline is found, and red cells are not taken for nuclei."""

import numpy as np
import pytest
from drawn_smear import draw_smear
from scipy import ndimage

from bc_sam.data.appearance.light import optical_density, white_point
from bc_sam.data.appearance.magnification import measure
from bc_sam.data.appearance.white_cell import add_cytoplasm, closer_than, find_nuclei, find_white_cell, opened
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


def blobs(seed, side=90):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 4)
    return noise > np.percentile(noise, 85)


def test_masks_are_opened_as_by_scipy():
    mask = blobs(0) | (np.random.default_rng(1).random((90, 90)) < 0.3)
    mask[0], mask[:, -1] = True, True
    assert np.array_equal(opened(mask), ndimage.binary_opening(mask))


@pytest.mark.parametrize("distance", [1.0, 3.52, 200.0])
def test_closeness_does_not_depend_on_where_it_is_sought(distance):
    mask = blobs(2)
    assert np.array_equal(closer_than(distance, mask), ndimage.distance_transform_edt(~mask) < distance)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("unit", [8.0, 25.0, 90.0])
def test_cytoplasm_is_that_of_the_whole_image(seed, unit):
    nuclei = blobs(seed)
    components, _ = ndimage.label(nuclei)
    nucleus = components == components[nuclei][0]
    others = nuclei & ~nucleus
    density = ndimage.gaussian_filter(np.random.default_rng(seed).random((90, 90, 3)), (3, 3, 0)).astype(np.float32)
    density[nuclei] += 0.6
    distance = ndimage.distance_transform_edt(~nucleus)
    near = (distance < 0.5 * unit) & (distance < ndimage.distance_transform_edt(~others))
    stain = ndimage.gaussian_filter(density.mean(axis=2), 1.0)
    level = max(0.1 * np.median(stain[nucleus]), 0.035)
    kept = ndimage.binary_opening(((stain > level) & near) | nucleus, iterations=max(1, round(0.12 * unit)))
    filled, _ = ndimage.label(ndimage.binary_fill_holes(kept | nucleus))
    expected = np.isin(filled, filled[nucleus])
    assert np.array_equal(add_cytoplasm(density, nucleus, others, unit), expected)
