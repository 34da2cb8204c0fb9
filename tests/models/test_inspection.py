"""A stream of cells is processed in constant memory, with one pass of the encoder per batch."""

from itertools import count

import numpy as np
import pytest
from PIL import Image
from small_model import small_model
from small_network import small_comparison

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.data.preparation import PROFILE_SAMPLE
from bc_sam.errors import ImageError
from bc_sam.models.inspection import inspect_cells
from bc_sam.models.observation import Parts


@pytest.fixture(scope="module")
def cells():
    """Three rendered cells, of different sizes."""
    laboratories = zip(LABORATORIES.values(), (64, 96, 128), strict=False)
    return [
        render_cell("monocyte", laboratory, np.random.default_rng(0), size)[0] for laboratory, size in laboratories
    ]


@pytest.mark.parametrize("make", [small_model, small_comparison])
def test_results_equal_those_of_the_models_methods(make, cells):
    model = make()
    seen = [cell.observed for cell in inspect_cells(model, cells, batch_size=2)]
    np.testing.assert_array_equal([one.embedding for one in seen], model.embed(cells, batch_size=2))
    for name in model.classifiers:
        expected = model.predict_proba(cells, classifier=name, batch_size=2)
        np.testing.assert_allclose([one.probabilities[name] for one in seen], expected, atol=1e-6)
    if model.can_segment:
        for cell, mask in zip(inspect_cells(model, cells), model.segment(cells), strict=True):
            np.testing.assert_array_equal(cell.prepared.restore(cell.observed.mask), mask)
    assert [cell.prepared.shape for cell in inspect_cells(model, cells)] == [(64, 64), (96, 96), (128, 128)]


def test_unreadable_images_are_reported_and_skipped(cells):
    first, broken, last = inspect_cells(small_model(), [cells[0], b"no image", cells[1]], batch_size=3)
    assert first.observed is not None
    assert last.observed is not None
    assert broken.observed is None
    assert isinstance(broken.error, ImageError)


def test_a_batch_of_only_unreadable_images_is_reported():
    assert [cell.observed for cell in inspect_cells(small_model(), [b"no image"] * 3, batch_size=2)] == [None] * 3


def test_an_image_above_the_limit_is_rejected():
    (cell,) = inspect_cells(small_model(), [Image.new("RGB", (40, 40))], max_pixels=1000)
    assert "40 x 40" in str(cell.error)


def test_a_stream_is_read_lazily(cells):
    numbers = count()
    stream = (cells[next(numbers) % 3] for _ in iter(int, 1))
    inspected = inspect_cells(small_model(), stream, Parts.EMBEDDINGS, batch_size=2)
    for _ in range(4):
        next(inspected)
    assert next(numbers) <= 8


def test_a_normalizing_model_reads_only_the_sample_ahead(cells):
    numbers = count()
    stream = (cells[next(numbers) % 3] for _ in iter(int, 1))
    next(inspect_cells(small_model(normalization=NormalizationConfig()), stream, Parts.EMBEDDINGS, batch_size=2))
    assert next(numbers) <= PROFILE_SAMPLE


def test_cells_carry_what_is_wrong_with_their_scale(cells):
    model = small_model(normalization=NormalizationConfig())
    blank = np.full((40, 40, 3), 240, np.uint8)
    first, empty = inspect_cells(model, [cells[0], blank], microns_per_pixel=0.3)
    assert first.prepared.scale.ruler == "given"
    assert first.observed.scale_problem == first.prepared.scale_problem
    assert empty.observed.scale_problem == "No white cell was found."
