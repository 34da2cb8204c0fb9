"""A laboratory's pixel size: which ruler counts, why, and that no content of an image is an error."""

import numpy as np
import pytest
from drawn_smear import draw_smear
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bc_sam.data.appearance.magnification import (
    PIXEL_SIZE_LIMITS,
    Measurement,
    Scale,
    domain_scale,
    image_scale,
    measure,
)
from bc_sam.data.appearance.resolution_tags import ResolutionTag
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell

WHITE = (240.0, 240.0, 240.0)


def measurement(red_cell=None, white_cell=None, n_red_cells=5, n_white_cells=1):
    return Measurement(WHITE, (50.0, 50.0), red_cell, n_red_cells if red_cell else 0, white_cell, n_white_cells)


class TestRuler:
    def test_red_cells_come_before_white_cells(self):
        scale = domain_scale([measurement(75, 200), measurement(75, 90), measurement(77, 150)])
        assert scale == Scale(pytest.approx(0.1), "red cells", 3)

    def test_white_cells_stand_in_and_the_reason_is_told(self):
        scale = domain_scale([measurement(None, 145)] * 4)
        assert scale == Scale(pytest.approx(0.1), "white cell", 4, "0 of 4 images show enough red cells.")

    @pytest.mark.parametrize(("n_images", "ruler"), [(5, "red cells"), (6, "white cell")])
    def test_red_cells_must_be_in_a_fifth_of_the_images(self, n_images, ruler):
        found = [measurement(75, 145), *[measurement(None, 145)] * (n_images - 1)]
        assert domain_scale(found).ruler == ruler

    def test_ten_images_with_red_cells_are_enough_of_any_number(self):
        assert domain_scale([*[measurement(75, 145)] * 10, *[measurement(None, 145)] * 200]).ruler == "red cells"

    def test_two_red_cells_are_too_few(self):
        assert image_scale(measurement(75, 145, n_red_cells=2)).ruler == "white cell"

    @pytest.mark.parametrize("white_cell", [40, 320], ids=["smaller than a red cell", "more than four of them wide"])
    def test_circles_that_do_not_fit_the_white_cell_are_no_red_cells(self, white_cell):
        assert image_scale(measurement(75, white_cell)).ruler == "white cell"

    def test_several_white_cells_are_told(self):
        scale = domain_scale([measurement(None, 145), measurement(None, 145, n_white_cells=4)])
        assert "1 of 2 images show several white cells" in scale.reason

    def test_nothing_to_measure_is_unknown(self):
        assert domain_scale([]).ruler == "unknown"
        scale = image_scale(measurement())
        assert scale.microns_per_pixel is None
        assert scale.reason == "The image does not show enough red cells. No white cell was found."


class TestGivenSize:
    def test_comes_first(self):
        scale = image_scale(measurement(75, 145), microns_per_pixel=0.12, tag=ResolutionTag(0.1, "0.1 µm"))
        assert scale == Scale(0.12, "given", 1)

    @pytest.mark.parametrize(
        ("size", "because"),
        [
            (3.0, "3 µm per pixel is not within"),
            (0.001, "0.001 µm per pixel is not within"),
            (-1.0, "not within"),
            (float("nan"), "not within"),
            (0.55, "the white cell would be 79.8 µm wide"),
            (0.0207, "the white cell would be 3 µm wide"),
        ],
    )
    def test_out_of_all_reason_is_ignored_and_the_reason_told(self, size, because):
        scale = image_scale(measurement(75, 145), microns_per_pixel=size)
        assert scale.ruler == "red cells"
        assert because in scale.reason


class TestResolutionTag:
    def test_counts_where_it_agrees_with_the_red_cells(self):
        scale = image_scale(measurement(75, 145), tag=ResolutionTag(0.09, "0.09 µm"))
        assert scale == Scale(0.09, "resolution tag", 1)

    def test_counts_where_there_are_no_red_cells(self):
        assert image_scale(measurement(None, 145), tag=ResolutionTag(0.2, "0.2 µm")).ruler == "resolution tag"

    @pytest.mark.parametrize("size", [0.064, 0.16])
    def test_that_contradicts_the_red_cells_by_half_loses(self, size):
        scale = image_scale(measurement(75, 145), tag=ResolutionTag(size, f"{size} µm"))
        assert scale.ruler == "red cells"
        assert "the red cells say 0.1 µm per pixel" in scale.reason

    def test_of_a_display_is_no_measurement(self):
        scale = image_scale(measurement(75, 145), tag=ResolutionTag(25400 / 72, "72 dpi", is_display_default=True))
        assert scale.ruler == "red cells"
        assert "72 dpi is a default for displays" in scale.reason

    def test_of_a_few_images_does_not_speak_for_all(self):
        scale = domain_scale([measurement(75, 145)] * 5, tags=[ResolutionTag(0.09, "0.09 µm"), None, None])
        assert scale.ruler == "red cells"
        assert "only 1 of 5 images have one" in scale.reason


@pytest.mark.parametrize("name", LABORATORIES)
def test_rendered_laboratories_are_measured_within_10_percent(name):
    labels = ("lymphocyte_typical", "monocyte", "neutrophil_segmented", "eosinophil", "basophil", "myeloblast")
    cells = [render_cell(label, LABORATORIES[name], np.random.default_rng(i))[0] for i, label in enumerate(labels)]
    scale = domain_scale(measure(cell) for cell in cells)
    assert scale.ruler == "red cells"
    assert scale.microns_per_pixel == pytest.approx(LABORATORIES[name].width / 224, rel=0.1)


def test_a_measurement_does_not_depend_on_the_resolution():
    image = draw_smear(500, 90, white_cell=170)
    half = measure(np.ascontiguousarray(image[::2, ::2])).rescaled(2)
    assert half.red_cell_px == pytest.approx(measure(image).red_cell_px, rel=0.05)
    assert half.centre == pytest.approx(measure(image).centre, abs=5)


ODD = {
    "one pixel": np.zeros((1, 1, 3), np.uint8),
    "one row": np.full((1, 300, 3), 200, np.uint8),
    "a thin strip": np.random.default_rng(0).integers(0, 256, (3, 500, 3)).astype(np.uint8),
    "black": np.zeros((100, 100, 3), np.uint8),
    "white": np.full((100, 100, 3), 255, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8),
    "a ramp": np.repeat(np.tile(np.linspace(0, 255, 300).astype(np.uint8), (200, 1))[..., None], 3, axis=2),
    "stripes": np.tile(np.array([[[0], [255]]], np.uint8), (50, 50, 3)),
}


@pytest.mark.parametrize("image", ODD.values(), ids=ODD)
def test_odd_images_have_no_scale_or_a_sane_one(image):
    scale = image_scale(measure(image))
    if scale.microns_per_pixel is None:
        assert scale.ruler == "unknown"
        assert scale.reason
    else:
        assert PIXEL_SIZE_LIMITS[0] <= scale.microns_per_pixel <= PIXEL_SIZE_LIMITS[1]


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(np.uint8, (*shape, 3))))
def test_any_image_can_be_measured(image):
    found = measure(image)
    height, width = image.shape[:2]
    assert 0 <= found.centre[0] <= max(height, 8)
    assert 0 <= found.centre[1] <= max(width, 8)
    assert all(1 <= channel <= 255 for channel in found.white)
    assert found.white_cell_px is None or found.white_cell_px > 0
