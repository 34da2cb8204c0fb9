"""One image as the encoder sees it: at one scale and light, or stretched to a square; masks follow, there and back."""

import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
from drawn_smear import draw_smear
from PIL import Image

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.appearance.light import GLASS_LEVEL
from bc_sam.data.appearance.magnification import Scale, measure
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.appearance.resolution_tags import ResolutionTag, read_resolution_tag
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.data.images import to_square
from bc_sam.data.preparation import (
    PROFILE_SAMPLE,
    Preparation,
    map_in_threads,
    measure_source,
    profile_sources,
    require_pixel_size,
    sample_evenly,
    sample_of,
)
from bc_sam.errors import ConfigError

SIZE = 96
NORMALIZATION = NormalizationConfig(field_of_view=30.0)
TARGET = 30.0 / SIZE
SQUARE = Preparation(SIZE)
OWN = Preparation(SIZE, NORMALIZATION)

# At 0.15 µm per pixel: red cells of 7.5 µm around a white cell of 15 µm.
RED_CELL, WHITE_CELL = 50, 100
MICRONS = 7.5 / RED_CELL


def smear(zoom=1.0, gain=(1.0, 1.0, 1.0), **more):
    """A field of 45 µm, as a camera with `zoom` times the resolution takes it under another lamp."""
    sizes = {"side": round(300 * zoom), "red_cell": RED_CELL * zoom, "white_cell": WHITE_CELL * zoom}
    return Image.fromarray(draw_smear(**(sizes | {"gain": gain} | more)))


def disc(shape, centre, radius):
    row, column = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(row - centre[0], column - centre[1]) < radius


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def given(microns, strength=(1.0, 1.0, 1.0)):
    return AppearanceProfile(Scale(microns, "given"), strength, 9)


class TestOneScaleAndLight:
    """The same cell reaches the encoder alike from every camera."""

    def test_two_magnifications_and_two_lamps_look_alike(self):
        images = smear(), smear(zoom=1.8, gain=(1, 0.85, 0.7))
        seen = [OWN.prepare(image) for image in images]
        found = [measure(image.pixels) for image in seen]
        assert seen[1].scale.microns_per_pixel == pytest.approx(seen[0].scale.microns_per_pixel / 1.8, rel=0.05)
        assert found[0].white_cell_px == pytest.approx(found[1].white_cell_px, rel=0.05)
        assert found[0].white_cell_px * TARGET == pytest.approx(15, rel=0.1)
        assert found[0].centre == pytest.approx(found[1].centre, abs=2)
        for image in seen:
            assert measure(image.pixels).white == pytest.approx((GLASS_LEVEL,) * 3, abs=3)
        middle = slice(SIZE // 2 - 4, SIZE // 2 + 4)  # of the nucleus
        colours = [image.pixels[middle, middle].mean(axis=(0, 1)) for image in seen]
        assert colours[0] == pytest.approx(colours[1], abs=4)

    def test_without_normalization_they_do_not(self):
        one, other = (measure(SQUARE.prepare(image).pixels).white for image in (smear(), smear(gain=(1, 0.85, 0.7))))
        assert abs(one[2] - other[2]) > 40

    def test_a_rendered_cell_resized_by_any_factor_looks_the_same(self):
        image, _ = render_cell("monocyte", LABORATORIES["barcelona"], np.random.default_rng(0), 224)
        larger = Image.fromarray(image).resize((403, 403), Image.Resampling.BICUBIC)
        one = Preparation(SIZE, NORMALIZATION, given(34 / 224)).prepare(Image.fromarray(image))
        other = Preparation(SIZE, NORMALIZATION, given(34 / 403)).prepare(larger)
        assert np.abs(one.pixels.astype(float) - other.pixels).mean() < 6

    def test_size_is_still_information_within_a_laboratory(self):
        profile = profile_sources([np.asarray(smear(white_cell=px)) for px in (70, 100, 130)])
        preparation = Preparation(SIZE, NORMALIZATION, profile)
        widths = [measure(preparation.prepare(smear(white_cell=px)).pixels).white_cell_px for px in (70, 130)]
        assert widths[1] / widths[0] == pytest.approx(130 / 70, rel=0.12)

    def test_the_stain_is_scaled_unless_switched_off(self):
        profile = given(MICRONS, strength=(2.0, 2.0, 2.0))
        strong, plain = (
            Preparation(SIZE, NormalizationConfig(30.0, stain), profile).prepare(smear()) for stain in (True, False)
        )
        middle = SIZE // 2, SIZE // 2
        transmitted = plain.pixels[middle] / GLASS_LEVEL
        assert strong.pixels[middle] / GLASS_LEVEL == pytest.approx(transmitted**2, abs=0.03)
        assert strong.pixels[middle].max() < plain.pixels[middle].max() - 20

    def test_the_cell_is_in_the_middle_and_glass_around_the_image(self):
        image = smear(white_cells=((0.25, 0.25),))
        seen = Preparation(SIZE, NORMALIZATION, given(MICRONS)).prepare(image)
        assert measure(seen.pixels).centre == pytest.approx((SIZE / 2, SIZE / 2), abs=3)
        assert seen.window.top < 0
        assert seen.pixels[0, 0] == pytest.approx([GLASS_LEVEL] * 3, abs=3)


class TestScaleOfAnImage:
    def test_a_laboratorys_scale_takes_precedence_over_the_images_own(self):
        seen = Preparation(SIZE, NORMALIZATION, given(0.12)).prepare(smear(), ResolutionTag(0.14, "0.14 µm"))
        assert (seen.scale.microns_per_pixel, seen.scale.ruler) == (0.12, "given")
        assert seen.window.side == pytest.approx(30 / 0.12, abs=1)

    def test_a_laboratory_without_a_scale_leaves_each_image_its_own(self):
        profile = AppearanceProfile(Scale(None, "unknown", reason="Mixed."), n_images=9)
        preparation = Preparation(SIZE, NORMALIZATION, profile)
        sizes = [preparation.prepare(smear(zoom)).scale.microns_per_pixel for zoom in (1, 1.8)]
        assert sizes == pytest.approx([MICRONS, MICRONS / 1.8], rel=0.08)
        assert preparation.prepare(smear()).scale.reason.startswith("Mixed.")

    def test_a_tag_is_used_without_a_common_scale(self):
        tag = ResolutionTag(0.14, "0.14 µm")
        nothing = AppearanceProfile(Scale(None, "unknown"), n_images=9)
        for profile in (None, nothing):
            preparation = Preparation(SIZE, NORMALIZATION, profile)
            assert preparation.needs_tag
            assert preparation.prepare(smear(), tag).scale.ruler == "resolution tag"
        assert not Preparation(SIZE, NORMALIZATION, given(0.1)).needs_tag
        assert not SQUARE.needs_tag

    def test_a_tag_that_lies_is_ignored_with_a_reason(self):
        scale = OWN.prepare(smear(), ResolutionTag(0.3, "0.3 µm")).scale
        assert scale.ruler == "red cells"
        assert "the red cells say" in scale.reason

    def test_a_given_size_is_used_for_an_image_without_a_laboratory(self):
        scale = Preparation(SIZE, NORMALIZATION, microns_per_pixel=0.14).prepare(smear()).scale
        assert (scale.microns_per_pixel, scale.ruler) == (0.14, "given")

    @pytest.mark.parametrize("microns", [0.03, 0.59])
    def test_a_given_size_that_makes_the_cell_absurd_is_ignored_with_a_reason(self, microns):
        scale = Preparation(SIZE, NORMALIZATION, microns_per_pixel=microns).prepare(smear()).scale
        assert scale.ruler == "red cells"
        assert "per pixel are ignored: the white cell would be" in scale.reason

    @pytest.mark.parametrize("size", [16, 1024])
    def test_every_size_of_the_encoder_works(self, size):
        seen = Preparation(size, NormalizationConfig(), given(MICRONS)).prepare(smear())
        assert seen.pixels.shape == (size, size, 3)


class TestNucleus:
    """Platelets are told from the smallest white cells by a nucleus that is both small and pale."""

    @pytest.mark.parametrize(
        ("microns", "red", "missing"),
        [(6.0, 140, True), (6.0, 30, False), (9.0, 140, False)],
        ids=["platelet", "small dark nucleus", "large pale nucleus"],
    )
    def test_small_and_pale_is_none(self, microns, red, missing):
        pixels = draw_smear(300, RED_CELL, white_cell=microns / MICRONS, white_cells=())
        row, column = np.ogrid[:300, :300]
        pixels[np.hypot(row - 150, column - 150) < WHITE_CELL / 2] = (235, 230, 228)
        pixels[np.hypot(row - 150, column - 150) < microns / MICRONS / 2] = (red, 60, 160)
        image = Image.fromarray(pixels)
        assert Preparation(SIZE, NORMALIZATION, given(MICRONS)).prepare(image).no_nucleus == missing
        assert OWN.prepare(image).no_nucleus == missing

    def test_a_stain_that_is_estimated_from_platelets_does_not_make_them_dark(self):
        pixels = draw_smear(300, RED_CELL, white_cells=())
        row, column = np.ogrid[:300, :300]
        pixels[np.hypot(row - 150, column - 150) < 13] = (140, 60, 160)
        profile = given(MICRONS, (2.0, 2.0, 2.0))
        assert Preparation(SIZE, NORMALIZATION, profile).prepare(Image.fromarray(pixels)).no_nucleus

    def test_a_cell_alone_is_its_own_ruler_and_one_of_several_is_not(self):
        alone = Image.fromarray(draw_smear(150, white_cell=100, n_red_cells=0))
        assert OWN.prepare(alone).size_assumed
        assert not OWN.prepare(smear()).size_assumed
        assert not SQUARE.prepare(alone).size_assumed
        profile = profile_sources([np.asarray(alone)] * 3)
        assert not Preparation(SIZE, NORMALIZATION, profile).prepare(alone).size_assumed

    def test_it_is_unknown_without_normalization_or_scale(self):
        assert not SQUARE.prepare(smear()).no_nucleus
        assert not OWN.prepare(Image.new("RGB", (60, 40), "white")).no_nucleus


class TestScaleProblem:
    def test_a_plausible_cell_has_none(self):
        assert OWN.prepare(smear()).scale_problem == ""

    def test_without_normalization_there_is_none(self):
        seen = SQUARE.prepare(Image.new("RGB", (50, 40), "white"))
        assert (seen.scale_problem, seen.window, seen.scale) == ("", None, None)

    @pytest.mark.parametrize("colour", ["white", "black", (200, 150, 160)])
    def test_an_image_in_which_nothing_is_found_is_shown_whole(self, colour):
        seen = OWN.prepare(Image.new("RGB", (60, 40), colour))
        assert seen.scale.microns_per_pixel is None
        assert (seen.window.top, seen.window.left, seen.window.side) == (-10, 0, 60)
        assert "neither red cells nor a white cell" in seen.scale_problem

    def test_a_laboratorys_image_without_a_white_cell(self):
        seen = Preparation(SIZE, NORMALIZATION, given(0.15)).prepare(Image.new("RGB", (60, 40), "white"))
        assert seen.scale_problem == "No white cell was found."

    @pytest.mark.parametrize(("microns", "width"), [(0.03, "3"), (0.58, "5[0-9]")])
    def test_a_cell_out_of_all_proportion_is_reported(self, microns, width):
        """The laboratory's scale is that of other images."""
        seen = Preparation(SIZE, NORMALIZATION, given(microns)).prepare(smear())
        said = (
            rf"The cell would be {width}(\.\d+)? µm wide, and white cells are 8 to 25 µm wide\. Check the pixel size\."
        )
        assert re.fullmatch(said, seen.scale_problem)


class TestMasks:
    MASK = disc((300, 300), (150, 150), WHITE_CELL / 2)

    @pytest.mark.parametrize("zoom", [0.6, 1.0, 1.8])
    @pytest.mark.parametrize("preparation", [OWN, SQUARE], ids=["normalized", "square"])
    def test_they_go_there_and_back(self, preparation, zoom):
        image = smear(zoom)
        mask = disc((image.height, image.width), (image.height / 2,) * 2, WHITE_CELL * zoom / 2)
        seen = preparation.prepare(image)
        shown = seen.see_mask(mask.astype(np.uint8))
        assert shown.shape == (SIZE, SIZE)
        back = seen.restore(shown > 0)
        assert (back.shape, back.dtype) == (mask.shape, bool)
        assert dice(back, mask) > 0.95

    def test_they_lie_on_the_cell_that_the_encoder_sees(self):
        image = smear(white_cells=((0.35, 0.6),))
        mask = disc((300, 300), (0.35 * 300, 0.6 * 300), WHITE_CELL / 2)
        seen = OWN.prepare(image)
        shown = seen.see_mask(mask.astype(np.uint8)) > 0
        row, column = np.argwhere(shown).mean(axis=0)
        assert (row, column) == pytest.approx((SIZE / 2, SIZE / 2), abs=2)
        nucleus = seen.pixels[..., 1] < 110
        assert (nucleus & shown).sum() > 0.95 * nucleus.sum()

    def test_classes_are_kept(self):
        mask = self.MASK.astype(np.uint8) + disc((300, 300), (150, 150), 30)
        assert set(np.unique(OWN.prepare(smear()).see_mask(mask))) == {0, 1, 2}

    def test_a_mask_at_another_size_is_of_the_same_image(self):
        seen = OWN.prepare(smear())
        small = np.asarray(Image.fromarray(self.MASK).resize((150, 150)))
        whole, coarse = (seen.see_mask(mask.astype(np.uint8)) > 0 for mask in (self.MASK, small))
        assert dice(whole, coarse) > 0.95

    def test_a_square_is_stretched_to_an_oblong_image(self):
        seen = SQUARE.prepare(Image.new("RGB", (60, 40)))
        restored = seen.restore(np.tri(SIZE, dtype=bool))
        assert restored.shape == (40, 60)
        assert restored.mean() == pytest.approx(0.5, abs=0.02)

    def test_nothing_is_predicted_where_the_encoder_did_not_look(self):
        seen = Preparation(SIZE, NormalizationConfig(20.0), given(MICRONS)).prepare(smear())
        restored = seen.restore(np.ones((SIZE, SIZE), bool))
        assert restored.sum() == seen.window.side**2 < restored.size


class TestMaps:
    def test_values_are_put_in_the_window(self):
        seen = Preparation(SIZE, NormalizationConfig(20.0), given(MICRONS)).prepare(smear())
        values = np.zeros((8, 8), np.float32)
        values[2:6, 2:6] = 0.5
        restored = seen.restore_map(values)
        assert restored.shape == (300, 300)
        assert restored.max() == pytest.approx(0.5)
        window = seen.window
        centre = window.top + window.side // 2, window.left + window.side // 2
        assert restored[centre] == pytest.approx(0.5)
        outside = restored.copy()
        outside[window.top : window.top + window.side, window.left : window.left + window.side] = 0
        assert not outside.any()

    def test_without_a_window_they_are_stretched(self):
        seen = SQUARE.prepare(Image.new("RGB", (60, 40)))
        assert np.array_equal(seen.restore_map(np.full((8, 8), 0.25, np.float32)), np.full((40, 60), 0.25))


def test_without_normalization_the_image_is_stretched_as_in_the_paper():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 120, 3), np.uint8))
    seen = SQUARE.prepare(image)
    assert np.array_equal(seen.pixels, to_square(image, SIZE))
    assert seen.shape == (70, 120)


class TestRequiredPixelSize:
    @pytest.mark.parametrize("microns", [0.02, 0.1, 0.6, None])
    def test_plausible_ones_pass(self, microns):
        require_pixel_size(microns)

    @pytest.mark.parametrize("microns", [0.0, -0.1, 0.019, 0.61, 100.0, float("nan")])
    def test_others_are_rejected_with_usual_ones(self, microns):
        with pytest.raises(ConfigError, match=r"between 0\.02 and 0\.6 µm, but is .*40x to 100x"):
            require_pixel_size(microns)


def tiff(image, **options):
    file = io.BytesIO()
    image.save(file, "TIFF", **options)
    return file.getvalue()


class TestProfileOfSources:
    def test_it_is_that_of_the_images(self):
        profile = profile_sources([smear(seed=seed) for seed in range(3)])
        assert profile.scale.microns_per_pixel == pytest.approx(MICRONS, rel=0.08)
        assert (profile.scale.ruler, profile.n_images) == ("red cells", 3)

    def test_unreadable_images_are_skipped(self):
        assert profile_sources([smear(), b"no image", smear(), "absent.png"]).n_images == 2

    def test_images_above_the_limit_are_not_decoded(self):
        assert profile_sources([smear(), smear(), smear(1.8)], max_pixels=300 * 300).n_images == 2

    @pytest.mark.parametrize("sources", [[], [b"no image"] * 5, ["absent.png", np.zeros((9, 9, 3), np.uint8)]])
    def test_one_image_is_no_laboratory(self, sources):
        assert profile_sources(sources) is None

    def test_a_given_size_is_used(self):
        assert profile_sources([smear()] * 2, microns_per_pixel=0.14).scale.ruler == "given"

    def test_an_implausible_size_is_rejected_before_any_image_is_read(self):
        with pytest.raises(ConfigError, match="microns_per_pixel"):
            profile_sources([b"no image"], microns_per_pixel=9.0)

    def test_resolution_tags_are_read(self):
        files = [tiff(smear(), resolution_unit=3, x_resolution=1e4 / 0.14)] * 3
        scale = profile_sources(files).scale
        assert (scale.ruler, scale.microns_per_pixel) == ("resolution tag", pytest.approx(0.14))

    def test_several_microscopes_have_no_common_scale(self):
        scale = profile_sources([smear(zoom) for zoom in (0.8, 0.8, 0.8, 1.8, 1.8, 1.8)]).scale
        assert scale.microns_per_pixel is None
        assert "each image is measured by itself" in scale.reason

    def test_at_most_the_sample_is_measured(self):
        assert profile_sources([np.full((20, 20, 3), 240, np.uint8)] * 100).n_images == PROFILE_SAMPLE

    def test_a_source_is_measured_with_its_tag(self):
        file = tiff(smear(), resolution_unit=3, x_resolution=1e4 / 0.14)
        found, tag = measure_source(file)
        assert found == measure(np.asarray(smear()))
        assert tag == read_resolution_tag(file)
        assert measure_source(b"no image") is None


class TestSample:
    def test_a_sequence_is_sampled_evenly_and_not_consumed(self):
        numbers = range(10 * PROFILE_SAMPLE)
        sample, images = sample_of(numbers)
        assert images is numbers
        assert (len(sample), sample[0], sample[-1]) == (PROFILE_SAMPLE, 0, numbers[-1])
        assert np.diff(sample).max() <= 11

    def test_the_first_images_of_an_iterator_are_taken_and_given_again(self):
        stream = iter(range(10 * PROFILE_SAMPLE))
        sample, images = sample_of(stream)
        assert sample == list(range(PROFILE_SAMPLE))
        assert next(stream) == PROFILE_SAMPLE  # no more was read
        assert isinstance(images, Iterator)
        assert list(images) == [*range(PROFILE_SAMPLE), *range(PROFILE_SAMPLE + 1, 10 * PROFILE_SAMPLE)]

    def test_a_short_iterator_is_given_whole(self):
        sample, images = sample_of(x for x in "abc")
        assert (sample, list(images)) == (["a", "b", "c"], ["a", "b", "c"])

    @pytest.mark.parametrize(
        ("n", "most", "expected"), [(0, 5, []), (1, 5, [0]), (4, 9, [0, 1, 2, 3]), (9, 2, [0, 8])]
    )
    def test_indices_are_spread_over_the_whole(self, n, most, expected):
        assert sample_evenly(n, most) == expected


def test_results_of_threads_keep_their_order():
    assert map_in_threads(str, range(50)) == [str(n) for n in range(50)]
