"""Working in strips gives the bytes of working on the whole image, in less memory."""

import os
import traceback
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.appearance.light import to_reference_light
from bc_sam.data.appearance.normalization import Window, normalize_image
from bc_sam.data.images import read_mask, read_pixels
from bc_sam.data.preparation import Preparation
from bc_sam.data.strips import map_strips, resize, resize_strips, strips
from bc_sam.utils.resources import measure

# Three strips, the last one shorter than the others.
HEIGHT, WIDTH = 1600, 1500


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def test_strips_cover_each_row_once():
    rows = [row for part in strips(HEIGHT, WIDTH) for row in range(part.start, part.stop)]
    assert rows == list(range(HEIGHT))
    assert len(list(strips(HEIGHT, WIDTH))) == 3


@pytest.mark.parametrize("method", [Image.Resampling.BOX, Image.Resampling.BILINEAR])
@pytest.mark.parametrize("size", [(96, 96), (7, 400), (WIDTH, 30), (30, HEIGHT), (WIDTH + 9, HEIGHT + 5)])
def test_resizing_gives_what_pillow_gives(noise, method, size):
    assert np.array_equal(resize(noise, size, method), Image.fromarray(noise).resize(size, method))


def test_strips_may_have_any_height(noise):
    parts = np.split(noise, [1, 2, 100])
    expected = Image.fromarray(noise).resize((50, 60), Image.Resampling.BILINEAR)
    assert np.array_equal(resize_strips(parts, (50, 60), Image.Resampling.BILINEAR), expected)


@pytest.mark.parametrize("window", [Window(100, 90, 1300, 96), Window(-300, -20, 2200, 80), Window(5000, 0, 1200, 10)])
def test_a_window_is_that_of_the_whole_image(noise, window):
    white, strength = (230.0, 220.0, 240.0), (1.2, 0.8, 1.0)
    square = np.full((window.side, window.side, 3), (230, 220, 240), np.uint8)
    source, place = window.overlap(noise.shape)
    square[place] = noise[source]
    whole = Image.fromarray(to_reference_light(square, white, strength))
    expected = whole.resize((window.size, window.size), Image.Resampling.BILINEAR)
    assert np.array_equal(normalize_image(noise, window, white, strength), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "CMYK"])
def test_every_mode_is_converted_as_a_whole_image_is(noise, mode):
    image = Image.fromarray(noise)
    image.putalpha(Image.fromarray(noise[..., 0] | 1))
    image = image.convert(mode)
    assert np.array_equal(read_pixels(image), image.convert("RGB"))


def test_functions_may_change_type_and_channels(noise):
    assert map_strips(lambda part: part.max(axis=2) > 9, noise).shape == (HEIGHT, WIDTH)
    halves = map_strips(lambda part: np.asarray(part.convert("L")) / 2, Image.fromarray(noise))
    assert halves.dtype == np.float64
    assert halves.shape == (HEIGHT, WIDTH)


def png(mode, side=2500):
    file = BytesIO()
    Image.new(mode, (side, side), 200 if mode == "L" else (200,) * len(mode)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def peak_of(action):
    """Runs an action in a process of its own; returns by how many bytes the memory grew at its peak."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            with measure():
                pass
            before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            with measure() as cost:
                action()
            os.write(writing, f"{cost.peak_memory_mib * 2**20 - before:.0f}".encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with os.fdopen(reading) as answer:
        return int(answer.read())


def prepare(content):
    Preparation(64, NormalizationConfig()).prepare(read_pixels(content))


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak of memory is read from Linux")
@pytest.mark.parametrize(
    ("read", "mode"), [(prepare, "RGBA"), (prepare, "RGB"), (read_mask, "RGBA"), (read_mask, "L")]
)
def test_the_peak_of_an_image_is_that_of_its_pixels_and_the_result(read, mode):
    content = png(mode)
    prepare(content), read_mask(png("L", 10))  # what is imported is not counted
    decoded = 1 if mode == "L" else 4  # Pillow has four bytes for three colours
    result = 1 if read is read_mask else 3
    assert peak_of(partial(read, content)) < 2500**2 * (decoded + result + 6)
