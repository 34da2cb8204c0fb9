"""Divides a field into tiles that overlap, so that large fields are searched in constant memory."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bc_sam.data.fields.others import Box


@dataclass(frozen=True)
class Tile:
    """A part of a field.

    Attributes:
        core: Rows and columns that belong to no other tile.
        reach: Rows and columns of the core and its margin, which is the border of other tiles.
    """

    core: tuple[slice, slice]
    reach: tuple[slice, slice]

    def owns(self, box: Box) -> bool:
        """Whether the centre of a box of the field is in the core, so that a cell on a seam is counted once."""
        centre = (box[1] + box[3]) // 2, (box[0] + box[2]) // 2
        return all(span.start <= position < span.stop for position, span in zip(centre, self.core, strict=True))

    def to_field(self, box: Box) -> Box:
        """Returns a box of the tile as a box of the field, pixels."""
        left, top, right, bottom = box
        rows, columns = self.reach
        return left + columns.start, top + rows.start, right + columns.start, bottom + rows.start


def divide(shape: tuple[int, int], side: int, margin: int) -> list[Tile]:
    """Divides a field.

    Args:
        shape: Its height and width, pixels.
        side: Largest side of a core, pixels.
        margin: How far a tile reaches beyond its core, pixels.

    Example:
        >>> [tile.reach[1] for tile in divide((50, 100), 60, 10)]
        [slice(0, 60, None), slice(40, 100, None)]
    """
    rows, columns = (
        [(slice(a, b), slice(max(a - margin, 0), min(b + margin, length))) for a, b in _spans(length, side)]
        for length in shape
    )
    return [Tile((row[0], column[0]), (row[1], column[1])) for row in rows for column in columns]


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, length, max(1, -(-length // side)) + 1).round().astype(int).tolist()
    return list(pairwise(edges))
