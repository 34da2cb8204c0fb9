"""Votes of edges for the centres of circles, pooled only where they may suffice for one.

Pooling all votes takes half of the time of measuring an image, although they suffice for a circle at one place in a
thousand. A bound from coarse counts tells where, so that circles are found in a quarter to two fifths of that time;
see benchmarks/preparation.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bc_sam.data.appearance.light import Floats

# Standard deviation by which votes are pooled, as a share of the radius and at least so many pixels, which tolerates
# outlines that deviate from a circle; and where the Gaussian ends, standard deviations.
_POOLING = 0.16
_LEAST_POOLING = 0.8
_TRUNCATE = 2.5

# Side of the cells of the bound, standard deviations and at least so many pixels. Larger ones are faster, but leave
# more places to pool.
_CELL = 0.6
_LEAST_CELL = 2

# The bound is computed in single precision, with errors of 1e-6.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Edges:
    """Edge pixels: places (2, n), rows and columns; and unit vectors (2, n) towards higher density."""

    places: NDArray[np.intp]
    directions: Floats


@dataclass(frozen=True)
class Circles:
    """Circles with their support, in the order of their radii, rows and columns.

    Attributes:
        indices: (n,) intp, indices of their radii.
        rows: (n,) intp, rows of their centres.
        columns: (n,) intp, columns of their centres.
        support: (n,) float32, share of their outline that is an edge.
    """

    indices: NDArray[np.intp]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    support: Floats

    def __len__(self) -> int:
        return len(self.support)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> "Circles":
        return Circles(self.indices[chosen], self.rows[chosen], self.columns[chosen], self.support[chosen])


@dataclass(frozen=True)
class _Pooling:
    """How the votes for a radius are pooled.

    Attributes:
        weights: (2 reach + 1,) float64, of votes by their distance along an axis.
        factor: Support per pooled vote.
        cell: Side of the cells of the bound, pixels.
        most: (2 n + 1,) float64, the largest weight of a vote in a cell for a centre in another, by their distance
            in cells.
    """

    weights: NDArray[np.float64]
    factor: float
    cell: int
    most: NDArray[np.float64]

    @property
    def reach(self) -> int:
        """Largest distance along an axis of votes that count, pixels."""
        return len(self.weights) // 2


@lru_cache(maxsize=256)
def _pooling(radius: float) -> _Pooling:
    blur = max(_POOLING * radius, _LEAST_POOLING)
    reach = int(_TRUNCATE * blur + 0.5)
    weights = np.exp(-0.5 / blur**2 * np.arange(-reach, reach + 1) ** 2)
    weights /= weights.sum()
    cell = max(_LEAST_CELL, round(_CELL * blur))
    # Places of neighbouring cells are at least one pixel apart.
    half = weights[reach + np.append(0, np.arange(1, reach + 1, cell))]
    return _Pooling(weights, blur**2 / radius, cell, np.concatenate([half[:0:-1], half]))


def _pooled(values: Floats, weights: NDArray[np.float64], axis: int) -> Floats:
    """Pools values along an axis, reflected at the border."""
    # The type is given because finding it out takes longer than a small window.
    pooled: Floats = ndimage.correlate1d(values, weights, axis, np.float32)
    return pooled


class CircleVotes:
    """Votes of each edge for the centres of all circles through it whose dense side faces inwards.

    Args:
        edges: The edges.
        shape: Height and width of the image.
        margin: Centres lie at most so far outside of it, pixels.
        radii: (k,) radii of the circles, pixels.

    Example:
        >>> around = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        >>> inwards = -np.stack([np.sin(around), np.cos(around)]).astype(np.float32)
        >>> edges = Edges(np.rint(40 - 20 * inwards).astype(np.intp), inwards)
        >>> votes = CircleVotes(edges, (80, 80), 0, np.array([10.0, 20.0]))
        >>> found = votes.circles(0.6)
        >>> best = int(found.support.argmax())
        >>> int(found.indices[best]), int(found.rows[best]), int(found.columns[best])
        (1, 40, 40)
    """

    def __init__(self, edges: Edges, shape: tuple[int, ...], margin: int, radii: NDArray[np.floating]) -> None:
        self.shape = shape[0] + 2 * margin, shape[1] + 2 * margin
        self._pooling = [_pooling(float(radius)) for radius in radii]
        # Converted once, as NumPy would for each radius.
        places, directions = edges.places.astype(np.float64), edges.directions.astype(np.float64)
        self._centres = [self._inside(np.rint(places + radius * directions) + margin) for radius in radii]
        self._counts: dict[int, Floats] = {}

    def support(self) -> Floats:
        """Returns the share of every circle's outline that is an edge: (k, H, W), with margins."""
        everywhere = slice(0, self.shape[0]), slice(0, self.shape[1])
        return np.stack([self._support(index, everywhere) for index in range(len(self._pooling))])

    def support_at(self, index: int, row: int, column: int) -> float:
        """Returns the support of one circle, given the index of its radius and its centre."""
        return float(self._support(index, (slice(row, row + 1), slice(column, column + 1)))[0, 0])

    def circles(self, least: float, excluded: NDArray[np.bool_] | None = None) -> Circles:
        """Returns all circles with at least this support.

        Args:
            least: The support; positive.
            excluded: (H, W) bool, with margins: where no centre is sought.
        """
        found = []
        for index in range(len(self._pooling)):
            for window in self._windows(index, least):
                support = self._support(index, window)
                if support.max() < least:
                    continue
                rows, columns = np.nonzero(support >= least)
                places = rows + window[0].start, columns + window[1].start
                found.append((np.full(len(rows), index), *places, support[rows, columns]))
        circles = Circles(*map(np.concatenate, zip(*found, strict=True))) if found else _NO_CIRCLES
        return circles if excluded is None else circles[~excluded[circles.rows, circles.columns]]

    def _inside(self, centres: NDArray[np.float64]) -> NDArray[np.intp]:
        """Returns those of centres (2, n) that are in the image or its margin."""
        rows, columns = centres
        inside = (rows >= 0) & (rows < self.shape[0]) & (columns >= 0) & (columns < self.shape[1])
        return centres.take(np.flatnonzero(inside), axis=1).astype(np.intp)

    def _support(self, index: int, window: "_Window") -> Floats:
        """Returns the support of the circles of a radius with centres in a window, as if all votes were pooled."""
        pooling = self._pooling[index]
        if index not in self._counts:
            self._counts[index] = _counted(self._centres[index], self.shape)
        (rows, inner_rows), (columns, inner_columns) = (
            _widened(part, pooling.reach, length) for part, length in zip(window, self.shape, strict=True)
        )
        pooled = _pooled(self._counts[index][rows, columns], pooling.weights, 0)[inner_rows]
        pooled = _pooled(pooled, pooling.weights, 1)[:, inner_columns]
        return (pooled * np.float64(pooling.factor)).astype(np.float32)

    def _windows(self, index: int, least: float) -> Iterator["_Window"]:
        """Yields windows outside of which no circle of a radius has the support."""
        pooling = self._pooling[index]
        side = pooling.cell
        # The last cell has what is left over, so that reflection at the border, as in pooling, stays a bound.
        height, width = (max(length // side, 1) for length in self.shape)
        cells = np.minimum(self._centres[index] // side, ((height - 1,), (width - 1,)))
        most = _pooled(_pooled(_counted(cells, (height, width)), pooling.most, 0), pooling.most, 1)
        enough = most >= (1 - _ROUNDING) * least / pooling.factor
        rows = np.flatnonzero(enough.any(axis=1))
        if not len(rows):
            return
        # Rows close to each other are pooled together.
        far = np.flatnonzero(np.diff(rows) * side > pooling.reach)
        for first, last in zip(rows[np.append(0, far + 1)], rows[np.append(far, -1)], strict=True):
            columns = np.flatnonzero(enough[first : last + 1].any(axis=0))
            yield (
                _pixels(first, last, side, height, self.shape[0]),
                _pixels(columns[0], columns[-1], side, width, self.shape[1]),
            )


_Window = tuple[slice, slice]
_NOWHERE = np.empty(0, np.intp)
_NO_CIRCLES = Circles(_NOWHERE, _NOWHERE, _NOWHERE, np.empty(0, np.float32))


def _counted(places: NDArray[np.intp], shape: tuple[int, int]) -> Floats:
    """Counts how often each place, of rows and columns (2, n), occurs: (H, W)."""
    counts = np.zeros(shape[0] * shape[1], np.float32)
    np.add.at(counts, places[0] * shape[1] + places[1], np.float32(1))
    return counts.reshape(shape)


def _widened(part: slice, reach: int, length: int) -> tuple[slice, slice]:
    """Widens a part of an axis on both sides; returns it, and where in it the part lies."""
    start = max(part.start - reach, 0)
    return slice(start, min(part.stop + reach, length)), slice(part.start - start, part.stop - start)


def _pixels(first: int, last: int, side: int, n_cells: int, length: int) -> slice:
    """Returns the pixels of an axis that some of its cells hold."""
    return slice(int(first) * side, length if last == n_cells - 1 else (int(last) + 1) * side)
