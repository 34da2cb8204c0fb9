"""The autoencoder's reconstruction target: the cell cut out by its mask, on grey, 128 x 128 pixels."""

from functools import lru_cache

import numpy as np
from scipy import ndimage

#: Grey level outside the cell, and width of the border around its bounding box, pixels (BC-SAM, section 2.2).
BACKGROUND = 128
BORDER = 10

# Rows of a matrix product of the resampling. OpenBLAS computes products of fewer than 64^3 values in one thread, which
# so few rows are for images of up to 256 pixels: its threads wait in a loop, on cores that the encoder's need.
_ROWS = 4


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Returns the largest connected component of a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool; all false if the mask is empty.
    """
    components, areas = label_components(mask)
    return components == areas.argmax() + 1 if len(areas) else np.zeros(mask.shape, dtype=bool)


def label_components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels the connected components of a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        The components (H, W) int32, numbered from 1, with 0 outside the mask; and their areas (n,) int64, pixels.

    Example:
        >>> components, areas = label_components(np.array([[True, False, True, True]]))
        >>> components.tolist(), areas.tolist()
        ([[1, 0, 2, 2]], [1, 2])
    """
    components, _ = ndimage.label(mask)
    return components, np.bincount(components.ravel())[1:]


def crop_cell(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Crops an image to the mask's bounding box, with grey outside the mask and a grey border of 10 pixels.

    The original's bounding box omits the last row and column of the mask; this one includes them. If the mask is
    empty, the whole image is returned with the border.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool.

    Returns:
        (h, w, 3) uint8.
    """
    if not mask.any():
        mask = np.ones_like(mask)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    cell = np.where(mask[box][..., None], image[box], np.uint8(BACKGROUND))
    return np.pad(cell, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), constant_values=BACKGROUND)


def cell_target(image: np.ndarray, mask: np.ndarray, size: int = 128) -> np.ndarray:
    """Returns the autoencoder's target: the largest component of the mask, cropped and resized with cubic splines.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool.
        size: Side of the result, pixels.

    Returns:
        (size, size, 3) uint8.

    Example:
        >>> image = np.zeros((224, 224, 3), np.uint8)
        >>> mask = np.zeros((224, 224), bool); mask[60:120, 80:150] = True
        >>> cell_target(image, mask).shape
        (128, 128, 3)
    """
    return zoom_to_square(crop_cell(image, largest_component(mask)), size)


def zoom_to_square(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes an image to a square with cubic splines, ignoring the aspect ratio.

    Spline interpolation is linear and separable, so two matrix products give the result of `scipy.ndimage.zoom`,
    except for the rounding of exact halves, in a thirtieth of its time.

    Args:
        image: (h, w, 3) uint8.
        size: Side of the result, pixels.

    Returns:
        (size, size, 3) uint8, contiguous.

    Example:
        >>> zoom_to_square(np.zeros((60, 90, 3), np.uint8), 128).shape
        (128, 128, 3)
    """
    height, width, _ = image.shape
    pixels = image.transpose(2, 0, 1).astype(np.float64)
    rows, columns = _zoom_matrix(height, size), _zoom_matrix(width, size).T
    zoomed = np.concatenate([rows[i : i + _ROWS] @ pixels @ columns for i in range(0, size, _ROWS)], axis=1)
    return np.ascontiguousarray((zoomed.clip(0, 255) + 0.5).astype(np.uint8).transpose(1, 2, 0))


@lru_cache(maxsize=256)
def _zoom_matrix(length: int, size: int) -> np.ndarray:
    """Returns the interpolation matrix from `length` to `size` samples, (size, length) float64."""
    return ndimage.zoom(np.eye(length), (size / length, 1), order=3)
