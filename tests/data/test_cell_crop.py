import numpy as np
import parity_weights
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from bc_sam.data.cell_crop import BACKGROUND, BORDER, cell_target, crop_cell, largest_component, zoom_to_square

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


@pytest.fixture(scope="module")
def expected():
    return parity_weights.expected("cell_crop_expected.npz")


def random_image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def flood(mask, start):
    """Flood fill: the 4-connected component of a mask that contains a pixel."""
    component, queue = np.zeros_like(mask), [start]
    while queue:
        row, column = queue.pop()
        inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
        if inside and mask[row, column] and not component[row, column]:
            component[row, column] = True
            queue += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return component


class TestLargestComponent:
    @given(masks)
    def test_it_is_a_whole_component_and_none_is_larger(self, mask):
        largest = largest_component(mask)
        assert largest.any() == mask.any()
        if mask.any():
            assert np.array_equal(largest, flood(mask, np.argwhere(largest)[0]))
            assert largest.sum() == max(flood(mask, start).sum() for start in np.argwhere(mask))

    def test_it_matches_the_original(self, expected):
        assert np.array_equal(largest_component(expected["mask"]), expected["largest"])


class TestCropCell:
    @given(masks.filter(np.any))
    def test_it_is_the_cell_on_grey_with_a_border(self, mask):
        image = random_image(mask.shape)
        crop = crop_cell(image, mask)
        inside = crop[BORDER:-BORDER, BORDER:-BORDER]
        rows, columns = np.nonzero(mask)
        assert inside.shape == (np.ptp(rows) + 1, np.ptp(columns) + 1, 3)
        assert np.array_equal(inside[rows - rows.min(), columns - columns.min()], image[mask])
        outside = np.ones(crop.shape[:2], dtype=bool)
        outside[rows - rows.min() + BORDER, columns - columns.min() + BORDER] = False
        assert (crop[outside] == BACKGROUND).all()

    def test_an_empty_mask_gives_the_whole_image(self):
        image = random_image((5, 7))
        crop = crop_cell(image, np.zeros((5, 7), dtype=bool))
        assert np.array_equal(crop[BORDER:-BORDER, BORDER:-BORDER], image)

    def test_it_matches_the_original_plus_the_row_and_column_that_it_omits(self, expected):
        original = expected["crop"].transpose(1, 2, 0)
        crop = crop_cell(expected["image"], expected["largest"])
        assert crop.shape[:2] == (original.shape[0] + 1, original.shape[1] + 1)
        within = slice(0, original.shape[0] - BORDER), slice(0, original.shape[1] - BORDER)
        assert np.array_equal(crop[within], original[within])
        assert (crop[-BORDER - 1, :, :] != BACKGROUND).any()
        assert (crop[:, -BORDER - 1, :] != BACKGROUND).any()


class TestCellTarget:
    @settings(max_examples=20)
    @given(hnp.arrays(bool, (16, 19)), st.integers(8, 64))
    def test_it_is_a_uint8_square_for_any_mask(self, mask, size):
        target = cell_target(random_image(mask.shape), mask, size)
        assert target.shape == (size, size, 3)
        assert target.dtype == np.uint8

    def test_only_the_largest_component_is_included(self):
        image = random_image((40, 40))
        mask = np.zeros((40, 40), dtype=bool)
        mask[5:20, 6:22] = True
        alone = cell_target(image, mask)
        mask[30:33, 30:33] = True
        assert np.array_equal(cell_target(image, mask), alone)

    def test_overshoot_of_the_spline_is_clipped(self):
        image = np.zeros((40, 40, 3), dtype=np.uint8)
        image[:, 20:] = 255
        target = cell_target(image, np.ones((40, 40), dtype=bool)).astype(int)
        columns = target[64, 30:98, 0]  # from deep in the black half to deep in the white one
        assert columns[:28].max() < 30
        assert columns[-28:].min() > 225

    def test_it_matches_the_original_up_to_the_omitted_row_and_column(self, expected):
        target = cell_target(expected["image"], expected["mask"]).transpose(2, 0, 1)
        difference = np.abs(target.astype(int) - expected["target"])
        assert difference.mean() < 1.5  # of 255; the largest, at the edge of the mask, is 124


class TestZoomToSquare:
    @settings(max_examples=40)
    @given(st.integers(2, 90), st.integers(2, 90), st.integers(8, 128), st.integers(0, 9))
    def test_it_matches_scipy_up_to_the_rounding_of_halves(self, height, width, size, seed):
        image = random_image((height, width), seed)
        expected = ndimage.zoom(image, (size / height, size / width, 1), order=3)
        difference = np.abs(zoom_to_square(image, size).astype(int) - expected)
        assert difference.max() <= 1
        assert difference.mean() < 0.02

    def test_it_matches_the_original(self, expected):
        zoomed = zoom_to_square(expected["crop"].transpose(1, 2, 0), 128)
        assert np.array_equal(zoomed.transpose(2, 0, 1), expected["target"])
