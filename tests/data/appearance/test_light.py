"""The glass becomes one grey and stains equally strong, whatever the lamp and the camera."""

import numpy as np
import pytest
from drawn_smear import GLASS, draw_smear
from hypothesis import given, settings
from hypothesis import strategies as st

from bc_sam.data.appearance.light import (
    NUCLEUS_DENSITY,
    STRENGTH_LIMITS,
    optical_density,
    stain_strength,
    to_reference_light,
    white_point,
)
from bc_sam.data.appearance.magnification import measure

channel_gain = st.floats(0.6, 1.05)


@settings(max_examples=25)
@given(st.tuples(channel_gain, channel_gain, channel_gain))
def test_white_point_follows_the_light(gain):
    expected = np.minimum(np.array(GLASS) * gain, 255)
    assert white_point(draw_smear(120, 30, white_cell=50, gain=gain)) == pytest.approx(expected, rel=0.04)


def test_two_lights_give_one_picture():
    plain, yellow = (draw_smear(gain=gain) for gain in ((1, 1, 1), (1, 0.85, 0.7)))
    one, other = (to_reference_light(image, white_point(image)).astype(float) for image in (plain, yellow))
    assert np.abs(plain.astype(float) - yellow).mean() > 15
    assert np.abs(one - other).mean() < 4


def test_a_strength_multiplies_the_optical_density():
    image = draw_smear()
    white = white_point(image)
    shown = to_reference_light(image, white, (0.5, 0.8, 1.2))
    nucleus = np.s_[195:205, 195:205]
    before = optical_density(image, white)[nucleus].mean((0, 1))
    after = optical_density(shown, (240.0,) * 3)[nucleus].mean((0, 1))
    assert after / before == pytest.approx((0.5, 0.8, 1.2), rel=0.03)


def test_pale_nuclei_are_brought_to_the_reference():
    pale = np.array([[NUCLEUS_DENSITY]], np.float32) / 2
    image = (240 * np.exp(-np.repeat(np.repeat(pale, 60, 0), 60, 1))).astype(np.uint8)
    strength = stain_strength([tuple(optical_density(image, (240.0,) * 3)[0, 0].tolist())])
    shown = to_reference_light(image, (240.0,) * 3, strength)
    assert optical_density(shown, (240.0,) * 3)[0, 0] == pytest.approx(NUCLEUS_DENSITY, rel=0.05)


@given(st.lists(st.none() | st.tuples(*[st.floats(0, 6)] * 3), max_size=5))
def test_strengths_stay_within_their_limits(densities):
    low, high = STRENGTH_LIMITS
    assert all(low <= factor <= high for factor in stain_strength(densities))


def test_black_nuclei_do_not_make_the_stain_paler_than_the_densest_that_can_be_measured():
    assert stain_strength([(5.5, 5.5, 5.5)]) == stain_strength([(2.5, 2.5, 2.5)])


def test_the_density_of_a_nucleus_is_measured():
    expected = -np.log(np.array((92, 50, 140)) / GLASS)
    assert measure(draw_smear()).nucleus_density == pytest.approx(expected, rel=0.06)
