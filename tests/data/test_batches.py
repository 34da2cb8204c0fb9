import numpy as np
import pytest
from drawn_smear import draw_smear
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.appearance.magnification import Scale
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.batches import decoded_batches
from bc_sam.data.preparation import Preparation
from bc_sam.errors import ConfigError, ImageError

SIZE = 16
SQUARES = Preparation(SIZE)


def grey(level):
    return np.full((4, 5, 3), level, dtype=np.uint8)


@settings(max_examples=30)
@given(st.lists(st.booleans(), max_size=20), st.integers(1, 7))
def test_images_and_errors_keep_their_order(readable, batch_size):
    images = [grey(level) if good else f"absent_{level}.png" for level, good in enumerate(readable)]
    batches = list(decoded_batches(iter(images), SQUARES, batch_size))
    assert [len(batch.sources) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    sources = [source for batch in batches for source in batch.sources]
    assert all(given is source for given, source in zip(images, sources, strict=True))
    errors = [error for batch in batches for error in batch.errors]
    assert [error is None for error in errors] == readable
    assert all(source in str(error) for source, error in zip(sources, errors, strict=True) if error is not None)
    levels = [level for batch in batches for level in batch.pixels[:, 0, 0, 0].tolist()]
    assert levels == [level for level, good in enumerate(readable) if good]


def test_pixels_are_resized_and_original_sizes_are_kept(tmp_path):
    Image.new("L", (30, 20), 9).save(tmp_path / "cell.png")
    (batch,) = decoded_batches([tmp_path / "cell.png", b"no image", grey(7)], SQUARES, 8)
    assert [image.shape for image in batch.prepared] == [(20, 30), (4, 5)]
    assert batch.pixels.shape == (2, SIZE, SIZE, 3)
    assert batch.pixels.dtype == np.uint8
    assert isinstance(batch.errors[1], ImageError)


def test_a_batch_without_readable_images_has_no_pixels():
    (batch,) = decoded_batches([b"", b"x"], SQUARES, 8)
    assert batch.pixels.shape == (0, SIZE, SIZE, 3)
    assert batch.prepared == []


def test_exactly_one_batch_is_prefetched():
    consumed = 0

    def stream():
        nonlocal consumed
        while True:
            consumed += 1
            yield grey(0)

    batches = decoded_batches(stream(), SQUARES, batch_size=3)
    assert consumed == 0
    for n in range(1, 4):
        next(batches)
        assert consumed == 3 * (n + 1)
    batches.close()


def test_an_error_of_the_stream_propagates():
    def stream():
        yield grey(0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(decoded_batches(stream(), SQUARES, 1))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_rejected(batch_size):
    with pytest.raises(ConfigError, match=f"batch_size must be positive, but is {batch_size}"):
        list(decoded_batches([grey(0)], SQUARES, batch_size))


def microscope_file(path, image, microns_per_pixel):
    Image.fromarray(image).save(path, "TIFF", resolution_unit=3, x_resolution=1e4 / microns_per_pixel)
    return path


class TestNormalized:
    """Images are brought to one scale and light while they are decoded."""

    NORMALIZATION = NormalizationConfig(field_of_view=32.0)

    def test_each_image_is_normalized_and_keeps_its_window(self):
        images = [draw_smear(120, 25, white_cell=45), grey(7), draw_smear(240, 50, white_cell=90)]
        (batch,) = decoded_batches(images, Preparation(64, self.NORMALIZATION), 8)
        assert [image.shape for image in batch.prepared] == [(120, 120), (4, 5), (240, 240)]
        assert all(image.window is not None for image in batch.prepared)
        assert np.array_equal(batch.pixels, [image.pixels for image in batch.prepared])
        assert batch.prepared[1].scale_problem

    def test_a_files_own_resolution_is_used_only_without_a_common_scale(self, tmp_path):
        file = microscope_file(tmp_path / "cell.tif", draw_smear(120, 25, white_cell=45), 0.31)

        def ruler(profile):
            (batch,) = decoded_batches([file], Preparation(64, self.NORMALIZATION, profile), 8)
            return batch.prepared[0].scale.ruler

        assert ruler(None) == "resolution tag"
        assert ruler(AppearanceProfile(Scale(None, "unknown"))) == "resolution tag"
        assert ruler(AppearanceProfile(Scale(0.3, "red cells", 9))) == "red cells"
