"""The results of a batch are split by cell and matched with the unreadable images."""

import numpy as np

from bc_sam.data.batches import Batch
from bc_sam.data.cell_crop import cell_target, largest_component
from bc_sam.data.image_quality import measure_quality
from bc_sam.data.preparation import PreparedImage
from bc_sam.errors import ImageError
from bc_sam.models.observation import Observation, match_sources, separate_cells

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
MASKS = np.zeros((2, 64, 64), bool)
MASKS[0, 10:40, 10:40] = MASKS[1, 5:20, 5:20] = True


def test_each_cell_gets_its_row_of_every_part():
    seen = Observation(
        PIXELS,
        masks=MASKS,
        n_cells=np.array([1, 2]),
        embeddings=np.array([[1.0], [2.0]], np.float32),
        probabilities={"rf": np.array([[0.3, 0.7], [0.6, 0.4]])},
        ood=np.array([0.1, 0.9]),
    )
    for row, cell in enumerate(seen.cells()):
        np.testing.assert_array_equal(cell.pixels, PIXELS[row])
        np.testing.assert_array_equal(cell.mask, MASKS[row])
        np.testing.assert_array_equal(cell.crop, cell_target(PIXELS[row], MASKS[row]))
        assert (cell.n_cells, cell.embedding, cell.ood) == (row + 1, row + 1, (0.1, 0.9)[row])
        np.testing.assert_array_equal(cell.probabilities["rf"], seen.probabilities["rf"][row])


def test_parts_that_were_not_computed_are_none_or_empty():
    first, _ = Observation(PIXELS).cells()
    assert (first.mask, first.crop, first.n_cells, first.embedding, first.ood) == (None,) * 5
    assert first.probabilities == {}
    assert not first.blank
    assert not first.blurred


def test_blur_does_not_depend_on_the_rest_of_the_batch():
    sharp = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8)
    soft = np.full((1, 64, 64, 3), 120, np.uint8)
    soft[0] += (60 * np.hanning(64)[:, None, None] * np.hanning(64)[None, :, None]).astype(np.uint8)
    together = np.concatenate([sharp, soft])
    in_batch = [cell.blurred for cell in Observation(together, quality=measure_quality(together, quiet=True)).cells()]
    alone = [
        cell.blurred
        for image in together
        for cell in Observation(image[None], quality=measure_quality(image[None], quiet=True)).cells()
    ]
    assert in_batch == alone == [False, False, False, True]


def test_an_unreadable_image_keeps_its_position():
    error = ImageError("broken")
    prepared = [PreparedImage(pixels, shape) for pixels, shape in zip(PIXELS, ((10, 20), (30, 40)), strict=True)]
    batch = Batch(["a", "b", "c"], [None, error, None], prepared, PIXELS)
    first, broken, last = match_sources(batch, Observation(PIXELS))
    assert (first.source, first.prepared, first.error) == ("a", prepared[0], None)
    assert (broken.source, broken.observed, broken.prepared, broken.error) == ("b", None, None, error)
    assert (last.source, last.prepared) == ("c", prepared[1])
    np.testing.assert_array_equal(last.observed.pixels, PIXELS[1])


def test_a_cell_knows_why_its_scale_cannot_be_trusted():
    prepared = [PreparedImage(PIXELS[0], (9, 9)), PreparedImage(PIXELS[1], (9, 9), scale_problem="No white cell.")]
    cells = match_sources(Batch(["a", "b"], [None, None], prepared, PIXELS), Observation(PIXELS))
    assert [cell.observed.scale_problem for cell in cells] == ["", "No white cell."]


def test_the_cell_is_the_largest_component_and_specks_are_not_counted():
    foreground = np.zeros((100, 100), dtype=bool)
    mask, n_cells = separate_cells(foreground)
    assert (mask.any(), n_cells) == (False, 0)
    foreground[10:40, 10:40] = True
    foreground[60:64, 60:64] = True
    mask, n_cells = separate_cells(foreground)
    np.testing.assert_array_equal(mask, largest_component(foreground))
    assert (mask.sum(), n_cells) == (900, 1)
    foreground[50:85, 50:85] = True
    mask, n_cells = separate_cells(foreground)
    assert (mask.sum(), n_cells) == (35 * 35, 2)
