"""Outlines of masks as polygons."""

import numpy as np
from numpy.typing import NDArray

# Every so many edges of pixels a polygon has a corner; smooth masks lose less than a pixel.
_STEP = 3


def outline_polygon(mask: NDArray[np.bool_], left: int = 0, top: int = 0) -> list[tuple[float, float]]:
    """Returns the outer outline of a mask's first component.

    Args:
        mask: (H, W) bool.
        left: Column of the mask's first pixel in the image.
        top: Row of the mask's first pixel in the image.

    Returns:
        The corners (x, y), pixels, clockwise and not closed; empty if the mask is.

    Example:
        >>> outline_polygon(np.ones((3, 3), bool))
        [(0.5, 0.0), (3.0, 0.5), (2.5, 3.0), (0.0, 2.5)]
    """
    edges = _edges(mask)
    if not edges:
        return []
    start = min(edges, key=lambda point: (point[1], point[0]))
    corners, point, heading = [start], start, (1, 0)
    while True:
        following = edges[point]
        # Where pixels touch at a corner only, the right turn stays on the component.
        point, heading = min(
            (((x, y), (x - point[0], y - point[1])) for x, y in following),
            key=lambda step: step[1][0] * heading[1] - step[1][1] * heading[0],
        )
        if point == start:
            break
        corners.append(point)
    places = np.array(corners, float)
    middles = (places + np.roll(places, -1, axis=0)) / 2
    step = _STEP if len(middles) >= 4 * _STEP else 1
    return [(float(x) + left, float(y) + top) for x, y in middles[::step]]


def _edges(mask: NDArray[np.bool_]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Returns the edges between the mask and what is around it, by their first end, with the mask on the right."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for neighbour, first, second in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    ):
        for y, x in np.argwhere(inner & ~neighbour).tolist():
            edges.setdefault((x + first[0], y + first[1]), []).append((x + second[0], y + second[1]))
    return edges
