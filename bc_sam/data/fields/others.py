"""Red cells and platelets of a tile, by classical image processing."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bc_sam.data.appearance.white_cell import otsu_threshold
from bc_sam.data.fields.nuclei import LEAST_NUCLEUS, WORKING_UM, ReducedTile, is_nucleus_coloured

#: Left, top, right and bottom edge, pixels.
Box = tuple[int, int, int, int]

# Red cells are peaks of thickness at least this far apart and this thick, µm. Of the settings tried on 61 fields of
# BCCD, these count nearest to the annotated boxes: 8 % more, with a mean absolute error of 25 %.
_PEAK_DISTANCE_UM = 2.6
_PEAK_RADIUS_UM = 2.0
_SMOOTHING = 2.0
_OPENING = 3

# Green density of red cells, as a share of the threshold between glass and stain; and what is never stain.
_SHARE_OF_THRESHOLD = 0.8
_LEAST_STAIN = 0.06

# Smallest area of a platelet, µm².
_LEAST_PLATELET = 1.5


def find_red_cell_boxes(tile: ReducedTile, white_cells: NDArray[np.bool_]) -> list[Box]:
    """Finds red cells, also those that touch or are cut off by the border.

    Args:
        tile: The tile.
        white_cells: (H, W) bool, pixels of white cells.

    Returns:
        Their boxes, pixels of the reduced tile. Where cells overlap, boxes are approximate.
    """
    green = ndimage.gaussian_filter(tile.density[..., 1], 1.0)
    elsewhere = green[~white_cells]
    if not elsewhere.size:
        return []
    threshold = max(_SHARE_OF_THRESHOLD * otsu_threshold(elsewhere, 0.0, 0.6), _LEAST_STAIN)
    stained = ndimage.binary_fill_holes((green > threshold) & ~ndimage.binary_dilation(white_cells, iterations=2))
    stained = ndimage.binary_opening(stained, iterations=_OPENING)
    # Continued beyond the border, so that cells that it cuts are as thick as they are.
    thickness = ndimage.distance_transform_edt(np.pad(stained, 1, mode="edge"))[1:-1, 1:-1] * WORKING_UM
    thickness = ndimage.gaussian_filter(thickness, _SMOOTHING)
    reach = round(_PEAK_DISTANCE_UM / WORKING_UM)
    peaks = (thickness == ndimage.maximum_filter(thickness, 2 * reach + 1)) & (thickness > _PEAK_RADIUS_UM)
    seeds, _ = ndimage.label(peaks & stained)
    if not seeds.any():
        return []
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    return _boxes(np.where(stained, seeds[tuple(nearest)], 0))


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
