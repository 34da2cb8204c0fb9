"""From a mask to the picture that the autoencoder must draw: one cell on grey, 128 pixels wide."""

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

#: Grey level of everything that is not the cell, and width of the border around its box (BC-SAM, section 2.2).
BACKGROUND = 128
BORDER = 10


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Keeps the largest connected part of a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool; all false where the mask is empty.
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
    """Cuts the cell out: grey outside the mask, the mask's bounding box, a grey border of 10 pixels.

    The original's box leaves out the last row and column of the mask; this one keeps them. Where the mask is
    empty the whole image stands for the cell.

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
    """Returns the autoencoder's target: the largest part of the mask, cropped and zoomed by cubic splines.

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
    """Zooms an image by cubic splines, its proportions given up.

    Splines are linear in the pixels and take rows and columns one after the other, so two products with matrices are
    what `scipy.ndimage.zoom` does, but for how exact halves are rounded, in a thirtieth of its time. PyTorch takes
    them, since the threads of NumPy's products would go on waiting busily beside those of the encoder.

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
    pixels = torch.from_numpy(image).permute(2, 0, 1).double()
    zoomed = _zoom_matrix(height, size) @ pixels @ _zoom_matrix(width, size).T
    return (zoomed.clamp(0, 255) + 0.5).byte().permute(1, 2, 0).contiguous().numpy()


@lru_cache(maxsize=256)
def _zoom_matrix(length: int, size: int) -> Tensor:
    """What zooming makes of each of so many places, (size, length) float64."""
    return torch.from_numpy(ndimage.zoom(np.eye(length), (size / length, 1), order=3))
