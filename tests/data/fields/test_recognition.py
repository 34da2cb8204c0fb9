"""Whole fields are told from crops of one cell by their width, whatever the ruler."""

import pytest
from drawn_smear import draw_smear

from bc_sam.data.appearance.magnification import Measurement
from bc_sam.data.fields.recognition import shows_field
from bc_sam.data.fields.survey import measure_window

NOTHING = Measurement((240.0,) * 3, (0.0, 0.0))


def recognized(image, **known):
    return shows_field(measure_window(image), image.shape[:2], **known)


def test_a_field_is_wider_than_a_crop():
    assert recognized(draw_smear(480, 60, 14, ((0.3, 0.3), (0.7, 0.6)), 104))
    assert not recognized(draw_smear(230, 60, 6, ((0.5, 0.5),), 104))


def test_a_field_may_have_no_white_cell():
    assert recognized(draw_smear(480, 60, 14, ()))


def test_red_cells_may_be_too_small_to_be_measured():
    assert recognized(draw_smear(1600, 60, 30, ((0.3, 0.3), (0.7, 0.6)), 104))


@pytest.mark.parametrize("diameter", [70.0, 130.0])
def test_a_crop_may_have_no_red_cells(diameter):
    """A lymphocyte and a monocyte, 36 µm around each."""
    assert not recognized(draw_smear(230, 60, 0, ((0.5, 0.5),), diameter))


def test_a_known_pixel_size_decides():
    image = draw_smear(480, 60, 14)
    assert not recognized(image, microns_per_pixel=0.05)
    assert recognized(image, microns_per_pixel=0.2)


def test_where_nothing_can_be_measured_the_number_of_pixels_decides():
    assert shows_field(NOTHING, (1200, 1600))
    assert not shows_field(NOTHING, (400, 400))
