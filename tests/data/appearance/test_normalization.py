"""One cell at one scale and light; masks follow, there and back."""

import numpy as np
import pytest
from drawn_smear import draw_smear
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.data.appearance.magnification import Measurement, domain_scale, image_scale, measure
from bc_sam.data.appearance.normalization import Window, cell_window, normalize_image, normalize_mask, restore_mask
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.errors import ConfigError

TARGET, SIZE = 0.2, 112

windows = st.builds(Window, st.integers(-50, 60), st.integers(-50, 60), st.integers(2, 90), st.integers(1, 64))


def normalized(image, microns_per_pixel):
    found = measure(image)
    window = cell_window(found, image.shape, microns_per_pixel, target=TARGET, size=SIZE)
    return normalize_image(image, window, found.white)


def disc(shape, centre, radius):
    row, column = np.ogrid[: shape[0], : shape[1]]
    return (np.hypot(row - centre[0], column - centre[1]) < radius).astype(np.uint8)


def test_a_cell_looks_alike_from_two_microscopes():
    images = draw_smear(240, 42, white_cell=80), draw_smear(480, 84, white_cell=160, gain=(1, 0.9, 0.75))
    scales = [image_scale(measure(image)).microns_per_pixel for image in images]
    one, other = (measure(normalized(*pair)) for pair in zip(images, scales, strict=True))
    assert one.white_cell_px == pytest.approx(other.white_cell_px, rel=0.06)
    assert one.white == pytest.approx(other.white, abs=4)


def test_a_lymphocyte_stays_smaller_than_a_monocyte():
    kinds = {
        label: [render_cell(label, LABORATORIES["barcelona"], np.random.default_rng(i)) for i in range(4)]
        for label in ("lymphocyte_typical", "monocyte")
    }
    images = [image for cells in kinds.values() for image, _ in cells]
    scale = domain_scale(measure(image) for image in images).microns_per_pixel
    areas = {}
    for label, cells in kinds.items():
        shown = [
            normalize_mask(mask, cell_window(measure(image), image.shape, scale, target=TARGET, size=SIZE))
            for image, mask in cells
        ]
        areas[label] = np.median([(mask > 0).sum() for mask in shown])
    assert areas["lymphocyte_typical"] < 0.6 * areas["monocyte"]


def test_the_cell_is_put_in_the_middle_and_glass_around_the_image():
    image = draw_smear(300, 50, white_cell=100, white_cells=((0.3, 0.3),))
    shown = normalized(image, 0.15)
    assert measure(shown).centre == pytest.approx((SIZE / 2, SIZE / 2), abs=3)
    assert shown.shape == (SIZE, SIZE, 3)
    far = normalized(image, 0.02)
    near = normalized(image, 0.6)
    assert far.shape == near.shape == (SIZE, SIZE, 3)


def test_an_image_of_unknown_scale_is_shown_whole():
    image = draw_smear(100)[:, :80]
    window = cell_window(measure(image), image.shape, None, target=TARGET, size=50)
    assert (window.left, window.top, window.side) == (-10, 0, 100)


def test_light_can_be_left_alone():
    image = np.full((30, 30, 3), (200, 150, 100), np.uint8)
    window = Window(0, 0, 30, 10)
    assert normalize_image(image, window, (240.0, 240.0, 240.0), None).tolist() == [[[200, 150, 100]] * 10] * 10


def test_image_and_mask_share_the_geometry():
    mask = disc((200, 240), (90, 130), 40)
    image = np.where(mask[..., None], np.uint8(60), np.uint8(240)) * np.ones(3, np.uint8)
    window = cell_window(Measurement((240.0,) * 3, (100.0, 120.0)), image.shape, 0.1, target=0.2, size=96)
    shown = normalize_image(image, window, (240.0,) * 3)[..., 0] < 150
    agree = shown == (normalize_mask(mask, window) > 0)
    assert agree.mean() > 0.99


@given(st.integers(30, 200), st.integers(30, 200), st.floats(0.05, 0.25), st.integers(24, 160), st.floats(0.2, 0.8))
def test_a_mask_goes_there_and_back(height, width, microns_per_pixel, size, place):
    centre = place * height, place * width
    mask = 2 * disc((height, width), centre, min(height, width) / 4)
    window = cell_window(Measurement((240.0,) * 3, centre), mask.shape, microns_per_pixel, target=0.2, size=size)
    back = restore_mask(normalize_mask(mask, window), window, mask.shape)
    assert back.shape == mask.shape
    assert set(np.unique(back)) <= {0, 2}
    (rows, columns), _ = window.overlap(mask.shape)
    shown = np.zeros_like(mask, dtype=bool)
    shown[rows, columns] = True
    assert not back[~shown].any()
    step = window.side / window.size  # a nearest neighbour may be so far away
    strayed = (back != mask) & shown
    assert strayed.sum() <= 2 * np.pi * min(height, width) / 4 * (step + 1)


@given(windows, st.integers(1, 60), st.integers(1, 60))
def test_any_window_can_be_shown_and_restored(window, height, width):
    image, mask = np.zeros((height, width, 3), np.uint8), np.ones((height, width), np.uint8)
    assert normalize_image(image, window, (240.0,) * 3).shape == (window.size, window.size, 3)
    assert restore_mask(normalize_mask(mask, window), window, mask.shape).shape == (height, width)


def test_enlarging_and_restoring_loses_nothing():
    mask = np.random.default_rng(0).integers(0, 3, (40, 40)).astype(np.uint8)
    window = Window(0, 0, 40, 120)
    assert np.array_equal(restore_mask(normalize_mask(mask, window), window, mask.shape), mask)


def test_any_size_of_the_encoder_shows_the_same_field_of_view():
    """An encoder of 1024 px sees finer pixels than any camera's, and one of 16 px coarser ones."""
    found = Measurement((240.0,) * 3, (100.0, 100.0))
    sides = {cell_window(found, (200, 200), 0.1, target=20 / size, size=size).side for size in (16, 112, 1024)}
    assert sides == {200}


@pytest.mark.parametrize(("scale", "target", "size"), [(5.0, 0.2, 64), (0.1, 0.0, 64), (0.1, 0.2, 0), (0.0, 0.2, 9)])
def test_absurd_requests_are_refused(scale, target, size):
    with pytest.raises(ConfigError, match="µm"):
        cell_window(Measurement((240.0,) * 3, (5.0, 5.0)), (10, 10), scale, target=target, size=size)
