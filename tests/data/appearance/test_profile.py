"""The scale and stain of a laboratory, from a sample of its images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.data.appearance.light import NUCLEUS_DENSITY
from bc_sam.data.appearance.magnification import Measurement, Scale
from bc_sam.data.appearance.profile import AppearanceProfile, estimate_profile, own_profile, with_own_scale
from bc_sam.data.appearance.resolution_tags import ResolutionTag

WHITE = (240.0, 240.0, 240.0)


def image(red_cell=75.0, *, white_cell=145.0, n_red_cells=5, density=NUCLEUS_DENSITY):
    """A measurement; by default at 0.1 µm per pixel, with nuclei as dark as in the reference."""
    return Measurement(WHITE, (90.0, 90.0), red_cell, n_red_cells, white_cell, 1, density)


def without_red_cells(white_cell):
    return image(None, n_red_cells=0, white_cell=white_cell)


class TestScale:
    @given(st.lists(st.floats(65, 85), min_size=1, max_size=15))
    def test_it_is_that_of_the_median_image(self, diameters):
        profile = estimate_profile(map(image, diameters))
        assert profile.scale.microns_per_pixel == pytest.approx(7.5 / np.median(diameters))
        assert (profile.scale.ruler, profile.n_images) == ("red cells", len(diameters))

    @pytest.mark.parametrize("diameters", [[40.0] * 5 + [80.0] * 5, np.geomspace(40, 90, 9)])
    def test_several_magnifications_have_no_common_scale(self, diameters):
        scale = estimate_profile(map(image, diameters)).scale
        assert (scale.microns_per_pixel, scale.ruler) == (None, "unknown")
        assert "differ by" in scale.reason
        assert "each image is measured by itself" in scale.reason

    def test_a_few_images_do_not_tell_several_magnifications(self):
        assert estimate_profile(map(image, (40.0, 80.0, 80.0, 40.0))).scale.ruler == "red cells"

    def test_images_without_a_red_cell_ruler_do_not_count_as_spread(self):
        circles = [image(px, n_red_cells=1) for px in (20.0, 200.0, 20.0, 200.0)]
        assert estimate_profile([image()] * 5 + circles).scale.microns_per_pixel == pytest.approx(0.1)

    def test_a_given_size_holds_for_all_images(self):
        scale = estimate_profile(map(image, [40.0] * 5 + [80.0] * 5), microns_per_pixel=0.12).scale
        assert (scale.microns_per_pixel, scale.ruler) == (0.12, "given")

    def test_tags_are_used(self):
        tags = [ResolutionTag(0.11, "0.11 µm")] * 3
        assert estimate_profile([image()] * 3, tags=tags).scale.ruler == "resolution tag"

    def test_without_images_nothing_is_known(self):
        profile = estimate_profile([])
        assert profile.scale.microns_per_pixel is None
        assert profile.strength == (1.0, 1.0, 1.0)


class TestStain:
    def test_a_weakly_stained_laboratory_is_strengthened(self):
        half = tuple(value / 2 for value in NUCLEUS_DENSITY)
        assert estimate_profile([image(density=half)] * 3).strength == pytest.approx((2, 2, 2))

    def test_one_image_does_not_change_it(self):
        dark = image(density=(2.4, 2.4, 2.4))
        assert estimate_profile([image()] * 4 + [dark]).strength == pytest.approx((1, 1, 1))

    def test_it_is_kept_where_the_scale_is_unknown(self):
        half = tuple(value / 2 for value in NUCLEUS_DENSITY)
        mixed = [image(px, density=half) for px in [40.0] * 5 + [80.0] * 5]
        assert estimate_profile(mixed).strength == pytest.approx((2, 2, 2))


class TestOwn:
    def test_it_is_the_profile_of_one_image(self):
        assert own_profile(image(60.0)) == estimate_profile([image(60.0)])
        assert own_profile(image(), microns_per_pixel=0.12).scale.ruler == "given"
        assert own_profile(image(), tag=ResolutionTag(0.11, "0.11 µm")).scale.ruler == "resolution tag"

    def test_it_gives_its_scale_to_a_laboratory_without_one(self):
        laboratory = AppearanceProfile(Scale(None, "unknown", reason="Mixed."), (2.0, 2.0, 2.0), 9)
        completed = with_own_scale(laboratory, own_profile(without_red_cells(145.0)))
        assert completed.scale.microns_per_pixel == pytest.approx(0.1)
        assert completed.scale.ruler == "white cell"
        assert completed.scale.reason == "Mixed. The image does not show enough red cells."
        assert (completed.strength, completed.n_images) == ((2.0, 2.0, 2.0), 9)

    def test_it_does_not_replace_that_of_a_laboratory(self):
        laboratory = estimate_profile([image()] * 3)
        assert with_own_scale(laboratory, own_profile(image(60.0))) is laboratory


class TestText:
    def test_it_names_size_ruler_and_images(self):
        profile = estimate_profile([image()] * 2 + [without_red_cells(145.0)])
        assert str(profile) == "0.1 µm per pixel by red cells (2 of 3 images measured)."

    def test_a_given_size_was_not_measured(self):
        assert str(estimate_profile([image()] * 3, microns_per_pixel=0.1)) == "0.1 µm per pixel as given."

    def test_an_unknown_one_says_why(self):
        assert str(estimate_profile([without_red_cells(None)])).startswith("unknown. The image does not show")
