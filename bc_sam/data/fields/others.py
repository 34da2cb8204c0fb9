"""Platelets of a tile, by classical image processing."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bc_sam.data.fields.nuclei import LEAST_NUCLEUS, WORKING_UM, ReducedTile, is_nucleus_coloured

#: Left, top, right and bottom edge, pixels.
Box = tuple[int, int, int, int]

# Smallest area of a platelet, µm².
_LEAST_PLATELET = 1.5


def find_platelet_boxes(tile: ReducedTile, white_cells: NDArray[np.bool_]) -> list[Box]:
    """Finds platelets: what is stained like a nucleus, too small for one, and not part of a white cell.

    Args:
        tile: The tile.
        white_cells: (H, W) bool, pixels of white cells.

    Returns:
        Their boxes, pixels of the reduced tile. Stain debris of their size is counted, too.
    """
    groups, count = ndimage.label(tile.nuclei)
    numbers = np.arange(1, count + 1)
    areas = ndimage.sum_labels(tile.nuclei, groups, numbers) * WORKING_UM**2
    for number, area, window in zip(numbers, areas, ndimage.find_objects(groups), strict=True):
        own = groups[window] == number
        coloured = is_nucleus_coloured(*np.median(tile.density[window][own], axis=0))
        is_platelet = _LEAST_PLATELET <= area < LEAST_NUCLEUS and coloured
        if not is_platelet or (own & white_cells[window]).any():
            groups[window][own] = 0
    return _boxes(groups)


def _boxes(groups: NDArray[np.int32]) -> list[Box]:
    windows = (window for window in ndimage.find_objects(groups) if window is not None)
    return [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in windows]
