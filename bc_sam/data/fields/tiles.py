"""Divides a field into tiles that overlap, so that large fields are searched in constant memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bc_sam.data.fields.others import Box
from bc_sam.data.fields.sources import Field
from bc_sam.errors import ImageError

# A tile that cannot be read is halved so many times at most, so that only what surrounds the damage is lost.
_HALVINGS = 3


@dataclass(frozen=True)
class Tile:
    """A part of a field.

    Attributes:
        core: Rows and columns that belong to no other tile.
        reach: Rows and columns of the core and its margin, which is the border of other tiles.
    """

    core: tuple[slice, slice]
    reach: tuple[slice, slice]

    @property
    def area(self) -> int:
        """Area of the core, pixels."""
        rows, columns = self.core
        return (rows.stop - rows.start) * (columns.stop - columns.start)

    def owns(self, box: Box) -> bool:
        """Whether the centre of a box of the field is in the core, so that a cell on a seam is counted once."""
        centre = (box[1] + box[3]) // 2, (box[0] + box[2]) // 2
        return all(span.start <= position < span.stop for position, span in zip(centre, self.core, strict=True))

    def to_field(self, box: Box) -> Box:
        """Returns a box of the tile as a box of the field, pixels."""
        left, top, right, bottom = box
        rows, columns = self.reach
        return left + columns.start, top + rows.start, right + columns.start, bottom + rows.start

    def quarters(self, shape: tuple[int, int], margin: int) -> "list[Tile]":
        """Divides the tile of a field of this shape in four, with a margin of so many pixels."""
        rows, columns = ([span.start, (span.start + span.stop) // 2, span.stop] for span in self.core)
        return _tiles(rows, columns, shape, margin)


@dataclass
class Damage:
    """What of a field cannot be read.

    Attributes:
        shape: Height and width of the field, pixels.
        messages: What is wrong, each once.
        area: Area that is not searched, pixels.
    """

    shape: tuple[int, int]
    messages: dict[str, None] = field(default_factory=dict)
    area: int = 0

    def sentences(self) -> tuple[str, ...]:
        """Returns what is wrong, and how much is lost.

        Raises:
            ImageError: If nothing of the field could be read.
        """
        if not self.messages:
            return ()
        share = self.area / (self.shape[0] * self.shape[1])
        if share == 1:
            raise ImageError(" ".join(self.messages))
        return *self.messages, f"{share:.2%} of the field was not searched."


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
        np.linspace(0, length, max(1, -(-length // side)) + 1).round().astype(int).tolist() for length in shape
    )
    return _tiles(rows, columns, shape, margin)


def read_tiles(
    field: Field, tiles: Iterable[Tile], margin: int, damage: Damage
) -> Iterator[tuple[Tile, NDArray[np.uint8]]]:
    """Reads tiles, and the readable parts of those that are damaged.

    Args:
        field: The field.
        tiles: Its tiles.
        margin: How far a tile reaches beyond its core, pixels.
        damage: What cannot be read is added to it.

    Yields:
        Each tile with the pixels of its reach, (H, W, 3) uint8, RGB.
    """
    for tile in tiles:
        yield from _readable(field, tile, margin, damage, _HALVINGS)


def _readable(
    field: Field, tile: Tile, margin: int, damage: Damage, halvings: int
) -> Iterator[tuple[Tile, NDArray[np.uint8]]]:
    try:
        pixels = field.read(*tile.reach)
    except ImageError as error:
        if halvings:
            for part in tile.quarters(field.shape, margin):
                yield from _readable(field, part, margin, damage, halvings - 1)
        else:
            damage.messages[str(error)] = None
            damage.area += tile.area
    else:
        yield tile, pixels


def _tiles(rows: list[int], columns: list[int], shape: tuple[int, int], margin: int) -> list[Tile]:
    """Returns the tiles between edges of rows and columns."""
    down, along = (
        [(slice(a, b), slice(max(a - margin, 0), min(b + margin, length))) for a, b in pairwise(edges)]
        for edges, length in zip((rows, columns), shape, strict=True)
    )
    return [Tile((row[0], column[0]), (row[1], column[1])) for row in down for column in along]
