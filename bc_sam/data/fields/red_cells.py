"""Red cells of a tile: circles that together explain what is stained, by classical image processing.

Red cells overlap, and the border cuts them off. Each edge votes for the centres of circles of their size, as in
`bc_sam.data.appearance.red_cells`; those with the best visible outline are taken first, and only if at least half of
what they cover is stained and not yet taken by others. What remains and is thick enough is a red cell, too, of another
shape.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bc_sam.data.appearance.circle_votes import CircleVotes
from bc_sam.data.appearance.light import Floats
from bc_sam.data.appearance.red_cells import disc_window, find_edges, interpolate_radius
from bc_sam.data.appearance.white_cell import otsu_threshold
from bc_sam.data.fields.nuclei import WORKING_UM, ReducedTile
from bc_sam.data.fields.others import Box

# Radii of the circles, µm, and the radius of a typical red cell. A radius that is e times as large or small needs so
# much more support.
_RADII_UM = np.geomspace(2.2, 5.2, 14)
_TYPICAL_UM = 3.7
_PENALTY = 0.5

# Least support, as a share of that part of the circumference which is in the tile; centres lie at most so far outside
# of it, µm. The part in the tile is at least the first share of the circumference, and counts as the second at least.
_LEAST_SUPPORT = 0.25
_OUTER_MARGIN_UM = 3.0
_LEAST_IN_TILE, _LEAST_COUNTED = 0.3, 0.4

# Least shares of a circle that are in the tile, are stained, and are stained and not in circles taken before.
_LEAST_AREA = 0.2
_LEAST_STAINED = 0.6
_LEAST_NEW = 0.45

# Radius of what is left, µm, for a red cell that is no circle; and the radius that it is given at least.
_LEFT_UM = 2.2
_LEAST_LEFT_UM = 2.8

# Inscribed circles are smaller than the cell by this factor.
_INSCRIBED = 1.1

# Green density of red cells, as a share of the threshold between glass and stain; and what is never stain.
_SHARE_OF_THRESHOLD = 0.5
_LEAST_STAIN = 0.06

# Pale centres have at most this area, µm².
_LARGEST_HOLE = 15.0

# Edges of the tile are smoothed by so many pixels of `WORKING_UM`.
_SMOOTHING = 0.8

_AROUND = np.linspace(0, 2 * np.pi, 64, endpoint=False)


@dataclass(frozen=True)
class _Circle:
    """A circle: support, centre and radius, pixels of the reduced tile."""

    support: float
    row: int
    column: int
    radius: float

    def in_tile(self, shape: tuple[int, ...]) -> float:
        """Returns the share of the circumference that is in a tile of this shape."""
        rows, columns = self.row + self.radius * np.sin(_AROUND), self.column + self.radius * np.cos(_AROUND)
        return float(((rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])).mean())

    def box(self, shape: tuple[int, ...], factor: float = _INSCRIBED) -> Box:
        """Returns its box in a tile of this shape."""
        reach = factor * self.radius
        left, right = (round(min(max(self.column + side * reach, 0), shape[1])) for side in (-1, 1))
        top, bottom = (round(min(max(self.row + side * reach, 0), shape[0])) for side in (-1, 1))
        return left, top, right, bottom


def find_red_cell_boxes(tile: ReducedTile, white_cells: NDArray[np.bool_]) -> list[Box]:
    """Finds red cells, also those that touch, overlap or are cut off by the border.

    Args:
        tile: The tile.
        white_cells: (H, W) bool, pixels of white cells.

    Returns:
        Their boxes, pixels of the reduced tile. Those of cells that are no circles are approximate.
    """
    near_white = ndimage.binary_dilation(white_cells, iterations=2)
    if near_white.all():
        return []
    stained = _stained(tile.density[..., 1], white_cells, near_white)
    taken = np.zeros_like(stained)
    boxes = []
    for circle in sorted(_circles(tile.density, near_white), key=lambda circle: -circle.support):
        (rows, columns), squared = disc_window(circle.row, circle.column, circle.radius, taken.shape)
        disc = squared < circle.radius**2
        area = max(int(disc.sum()), 1)
        cell = stained[rows, columns] & disc
        if (
            area > _LEAST_AREA * np.pi * circle.radius**2
            and cell.sum() > _LEAST_STAINED * area
            and (cell & ~taken[rows, columns]).sum() > _LEAST_NEW * area
        ):
            taken[rows, columns] |= disc
            boxes.append(circle.box(taken.shape))
    others = _others(ndimage.binary_opening(stained & ~ndimage.binary_dilation(taken)))
    return boxes + [circle.box(taken.shape, 1.0) for circle in others]


def _stained(green: Floats, white_cells: NDArray[np.bool_], near_white: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the pixels (H, W) bool of red cells, their pale centres included."""
    smooth = ndimage.gaussian_filter(green, 1.0)
    threshold = max(_SHARE_OF_THRESHOLD * otsu_threshold(smooth[~white_cells], 0.0, 0.6), _LEAST_STAIN)
    stained = (smooth > threshold) & ~near_white
    holes, count = ndimage.label(~stained)
    areas = np.bincount(holes.ravel(), minlength=count + 1) * WORKING_UM**2
    is_hole = areas < _LARGEST_HOLE
    is_hole[0] = False
    # Glass that the border cuts off between cells is no hole.
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        is_hole[edge] = False
    return np.asarray(ndimage.binary_opening((stained | is_hole[holes]) & ~near_white))


def _circles(density: Floats, near_white: NDArray[np.bool_]) -> Iterator[_Circle]:
    """Yields the circles that locally have the most support, if it is enough."""
    edges = find_edges(density, near_white, _SMOOTHING)
    if edges is None:
        return
    margin = round(_OUTER_MARGIN_UM / WORKING_UM)
    radii = _RADII_UM / WORKING_UM
    support = CircleVotes(edges, near_white.shape, margin, radii).support()
    support[:, np.pad(near_white, margin)] = 0
    best, chosen = support.max(axis=0), support.argmax(axis=0)
    peaks = (best == ndimage.maximum_filter(best, 2 * round(1.0 / WORKING_UM) + 1)) & (best > _LEAST_SUPPORT / 2)
    for row, column in np.argwhere(peaks).tolist():
        most = float(best[row, column])
        radius = interpolate_radius(most, support[:, row, column].item, int(chosen[row, column]), radii)
        circle = _Circle(most, row - margin, column - margin, radius)
        share = circle.in_tile(near_white.shape)
        if share < _LEAST_IN_TILE:
            continue
        penalty = _PENALTY * abs(np.log(radius * WORKING_UM / _TYPICAL_UM))
        circle = _Circle(circle.support / max(share, _LEAST_COUNTED) - penalty, circle.row, circle.column, radius)
        if circle.support >= _LEAST_SUPPORT:
            yield circle


def _others(left: NDArray[np.bool_]) -> Iterator[_Circle]:
    """Yields discs at the thickest places of what no circle explains."""
    # Continued beyond the border, so that cells that it cuts are as thick as they are.
    thickness = ndimage.distance_transform_edt(np.pad(left, 1, mode="edge"))[1:-1, 1:-1]
    while True:
        row, column = map(int, np.unravel_index(int(thickness.argmax()), thickness.shape))
        radius = float(thickness[row, column])
        if radius * WORKING_UM < _LEFT_UM:
            return
        yield _Circle(0.0, row, column, max(radius, _LEAST_LEFT_UM / WORKING_UM))
        (rows, columns), squared = disc_window(row, column, 2 * radius, thickness.shape)
        thickness[rows, columns][squared < (2 * radius) ** 2] = 0
