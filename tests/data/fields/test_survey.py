"""The scale of a field is measured whatever its size and magnification."""

import numpy as np
import pytest
from drawn_smear import draw_smear

from bc_sam.data.fields.sources import WholeField
from bc_sam.data.fields.survey import fields_profile, glass_share, survey_field
from bc_sam.errors import ImageError

UM = 7.5 / 60


def scale_of(*fields, **options):
    return fields_profile([survey_field(WholeField(field)) for field in fields], **options).scale


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("red_cell", [30, 60])
def test_red_cells_are_the_ruler_of_fields_of_any_size(red_cell, repeats):
    side = 6 * red_cell
    smear = draw_smear(side, red_cell, 12, ((0.5, 0.5),), 1.8 * red_cell)
    scale = scale_of(np.tile(smear, (repeats, repeats, 1)))
    assert scale.ruler == "red cells"
    assert scale.microns_per_pixel == pytest.approx(7.5 / red_cell, rel=0.12)


def test_a_field_without_a_white_cell_has_a_scale():
    assert scale_of(draw_smear(400, 60, 16, ())).microns_per_pixel == pytest.approx(UM, rel=0.1)


def test_a_given_size_is_used():
    assert scale_of(draw_smear(400, 60, 16), microns_per_pixel=0.1).microns_per_pixel == 0.1


@pytest.mark.parametrize("field", [np.full((300, 300, 3), 235, np.uint8), np.zeros((200, 300, 3), np.uint8)])
def test_a_field_without_red_cells_has_no_scale(field):
    assert scale_of(field).microns_per_pixel is None


def test_the_stain_is_that_of_all_nuclei():
    pale, dark = (fields_profile([survey_field(WholeField(draw_smear(400, 60, 12)))]).strength for _ in range(2))
    assert pale == dark
    assert fields_profile([survey_field(WholeField(draw_smear(400, 60, 16, ())))]).strength == (1.0, 1.0, 1.0)


def test_glass_is_what_is_as_bright_as_the_white_point():
    image = draw_smear(200, 60, 0, ((0.5, 0.5),), 100)
    share = 1 - np.pi * 50**2 / 200**2
    assert glass_share(image, (235.0, 230.0, 228.0)) == pytest.approx(share, abs=0.02)


class DamagedField(WholeField):
    """A field of which the pixel in row 30, column 30 cannot be read."""

    def read(self, rows, columns):
        if rows.start <= 30 < rows.stop and columns.start <= 30 < columns.stop:
            raise ImageError("tile 7 is damaged.")
        return super().read(rows, columns)


def test_light_is_measured_beside_damage():
    survey = survey_field(DamagedField(np.full((400, 400, 3), 240, np.uint8)))
    assert survey.measurement.white == (240.0, 240.0, 240.0)
    assert len(survey.windows) > 0
    with pytest.raises(ImageError, match="tile 7"):
        survey_field(DamagedField(np.full((60, 60, 3), 240, np.uint8)))
