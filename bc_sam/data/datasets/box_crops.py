"""Cells cropped from fields by their boxes, with their surroundings."""

import logging
from collections.abc import Sequence
from pathlib import Path

from bc_sam.data.images import encode_png, read_image
from bc_sam.errors import DataError, ImageError

logger = logging.getLogger(__name__)

#: Side of a crop from a field of 640 pixels, unless the box is larger.
CROP_SIDE = 320

#: Left, top, right and bottom edge, pixels.
Box = tuple[int, int, int, int]


def crop_cells(path: Path, boxes: Sequence[tuple[Box, int]], *, clip: bool = True) -> list[bytes | None]:
    """Crops the cells of one field.

    Args:
        path: The field.
        boxes: Box of each cell, and the side of its crop, pixels; see `crop_box`.
        clip: Whether boxes that reach beyond the field are clipped, or are errors.

    Returns:
        The crops as PNG; ``None`` for clipped boxes outside the field, and for all if the field cannot be read, which
        is logged.

    Raises:
        DataError: If a box is not inside the field and not clipped.
    """
    try:
        field = read_image(path)
    except ImageError as error:
        logger.warning("Not cropped: %s", error)
        return [None] * len(boxes)
    crops: list[bytes | None] = []
    for box, side in boxes:
        inside = _clipped(box, *field.size)
        if inside != box and not clip:
            raise DataError(
                f"The box {box} of {path.name} is not inside the field of {field.width} x {field.height} pixels. "
                "Correct it."
            )
        is_empty = inside[0] >= inside[2] or inside[1] >= inside[3]
        crops.append(None if is_empty else encode_png(field.crop(crop_box(inside, *field.size, side))))
    return crops


def crop_box(box: Box, width: int, height: int, side: int = CROP_SIDE) -> Box:
    """Returns the square around a box that is cropped from a field.

    It is shifted to stay inside the field, and is never larger than the field.

    Args:
        box: Box inside the field.
        width: Width of the field, pixels.
        height: Height of the field, pixels.
        side: Side of the square unless the box is longer, pixels.

    Example:
        >>> crop_box((10, 200, 110, 300), 640, 480), crop_box((100, 100, 440, 400), 640, 480)
        ((0, 90, 320, 410), (100, 80, 440, 420))
    """
    left, top, right, bottom = box
    side = min(max(side, right - left, bottom - top), width, height)
    x = min(max((left + right - side) // 2, 0), width - side)
    y = min(max((top + bottom - side) // 2, 0), height - side)
    return x, y, x + side, y + side


def _clipped(box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = box
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)
