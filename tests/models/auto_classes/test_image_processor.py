"""The image processor of transformers prepares images exactly as our models do."""

import numpy as np
import pytest
from drawn_smear import draw_smear
from PIL import Image
from transformers import AutoImageProcessor

from bc_sam.config.model import BCSamConfig
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.images import read_image, to_square
from bc_sam.data.preparation import Preparation
from bc_sam.errors import ImageError
from bc_sam.models.folder import write_preprocessor

PLAIN = BCSamConfig(image_size=96)
NORMALIZED = BCSamConfig(image_size=96, normalization=NormalizationConfig(field_of_view=24.0, stain=False))


def processor_of(folder, config):
    write_preprocessor(config, folder / "preprocessor_config.json")
    return AutoImageProcessor.from_pretrained(folder)


def normalised(pixels, config):
    return (pixels - np.array(config.image_mean)) / np.array(config.image_std)


def rgb():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 120, 3), dtype=np.uint8))


def half_transparent():
    values = np.random.default_rng(0).integers(0, 256, (70, 120, 4), dtype=np.uint8)
    values[:, 60:, 3] = 128
    return Image.fromarray(values)


def sixteen_bits():
    return Image.fromarray(np.random.default_rng(0).integers(0, 65536, (70, 120), dtype=np.uint16))


@pytest.mark.parametrize("make", [rgb, half_transparent, sixteen_bits])
def test_images_of_any_mode_are_prepared_as_the_model_does(tmp_path, make):
    processor = processor_of(tmp_path, PLAIN)
    ours = normalised(to_square(read_image(make()), 96), PLAIN)
    theirs = processor(make(), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_scale_and_light_are_normalized(tmp_path):
    image = Image.fromarray(draw_smear(150, 25, white_cell=50))
    ours = normalised(Preparation(96, NORMALIZED.normalization).prepare(image).pixels, NORMALIZED)
    theirs = processor_of(tmp_path, NORMALIZED)(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_one_image_or_several_make_a_batch(tmp_path):
    processor = processor_of(tmp_path, PLAIN)
    array = np.asarray(rgb())
    for images, n in ((array, 1), (rgb(), 1), ([rgb(), array], 2), (np.stack([array] * 3), 3)):
        assert processor(images, return_tensors="pt")["pixel_values"].shape == (n, 3, 96, 96)


def test_it_can_be_saved_again(tmp_path):
    processor = processor_of(tmp_path, NORMALIZED)
    processor.save_pretrained(tmp_path / "copy")
    again = AutoImageProcessor.from_pretrained(tmp_path / "copy")
    image = draw_smear(150, 25, white_cell=50)
    np.testing.assert_array_equal(again(image)["pixel_values"], processor(image)["pixel_values"])


def test_an_unreadable_image_is_refused(tmp_path):
    with pytest.raises(ImageError):
        processor_of(tmp_path, PLAIN)(b"no image")
