"""One pass of the encoder tells the same as every method of the model by itself."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_model import IMAGE_SIZE, small_model

from bc_sam.data.cell_crop import cell_target
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.data.images import read_image, to_square
from bc_sam.errors import ImageError
from bc_sam.models import inspection
from bc_sam.models.inspection import inspect_cells, redraw
from bc_sam.networks.features import encode_pixels


@pytest.fixture(scope="module")
def cells():
    """Three rendered cells, of different sizes."""
    laboratories = zip(LABORATORIES.values(), (64, 96, 128), strict=False)
    return [
        render_cell("monocyte", laboratory, np.random.default_rng(0), size)[0] for laboratory, size in laboratories
    ]


def test_it_sees_what_the_model_says(cells):
    model = small_model()
    seen = [item.inspection for step in inspect_cells(model, cells, batch_size=2) for item in step]
    np.testing.assert_allclose([one.latent for one in seen], model.embed(cells, batch_size=2), atol=1e-5)
    for name in model.classifiers:
        expected = model.predict_proba(cells, classifier=name, batch_size=2)
        np.testing.assert_allclose([one.probabilities[name] for one in seen], expected, atol=1e-5)
    for one, mask in zip(seen, model.segment(cells, batch_size=2), strict=True):
        own = np.asarray(Image.fromarray(one.mask).resize(one.size[::-1], Image.Resampling.NEAREST))
        np.testing.assert_array_equal(own, mask)
    assert [one.size for one in seen] == [(64, 64), (96, 96), (128, 128)]
    for one in seen:
        np.testing.assert_array_equal(one.crop, cell_target(one.pixels, one.mask))


def test_a_cell_is_redrawn_from_its_latent_as_the_autoencoder_does(cells):
    model = small_model()
    ((seen,),) = inspect_cells(model, cells[:1])
    pixels = to_square(read_image(cells[0]), IMAGE_SIZE)[None]
    with torch.inference_mode():
        _, drawn = model.autoencoder(encode_pixels(model.sam, model.config, pixels).float())
    shown = redraw(model, seen.inspection.latent)
    assert (shown.shape, shown.dtype) == ((128, 128, 3), np.uint8)
    np.testing.assert_allclose(shown, 255 * drawn[0].permute(1, 2, 0).numpy(), atol=0.6)


def test_an_encoder_pass_is_made_once_a_batch(cells, monkeypatch):
    asked = []
    encode = inspection.encode_pixels
    monkeypatch.setattr(inspection, "encode_pixels", lambda *parts: asked.append(len(parts[2])) or encode(*parts))
    assert len(list(inspect_cells(small_model(), cells, batch_size=2))) == 2
    assert asked == [2, 1]


def test_what_cannot_be_read_is_said_and_passed_over(cells):
    ((first, broken, last),) = inspect_cells(small_model(), [cells[0], b"no image", cells[1]], batch_size=3)
    assert first.inspection is not None
    assert last.inspection is not None
    assert broken.inspection is None
    assert isinstance(broken.error, ImageError)


def test_an_image_above_the_given_limit_is_refused():
    ((item,),) = inspect_cells(small_model(), [Image.new("RGB", (40, 40))], max_pixels=1000)
    assert "40 x 40" in str(item.error)


def test_a_blank_image_is_told():
    ((item,),) = inspect_cells(small_model(), [np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 200, np.uint8)])
    assert item.inspection.blank
    assert not item.inspection.blurred


def test_specks_are_no_cells():
    mask = np.zeros((100, 100), dtype=bool)
    assert inspection.count_cells(mask) == 0
    mask[10:40, 10:40] = True
    mask[60:64, 60:64] = True
    assert inspection.count_cells(mask) == 1
    mask[50:80, 50:80] = True
    assert inspection.count_cells(mask) == 2
