"""What a slide keeps of a field: a reduced picture, and for each cell its place and a crop."""

import io
import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.datasets.box_crops import crop_box
from bc_sam.data.fields.others import Box
from bc_sam.data.fields.sources import Field
from bc_sam.models.abstention import Reason
from bc_sam.models.fields import SQUARE_UM
from bc_sam.models.found_cells import FoundCell
from bc_sam.space.views.pictures import LARGE, as_uri, fit, jpeg_uri, outlined
from bc_sam.utils.polygons import outline_polygon

# Pixel size of the picture that is kept, µm, finer than what the model sees; and its longest side, pixels.
_KEPT_UM = 0.1
_KEPT_SIDE = 6000

# Longest side of the picture that the browser shows, pixels.
_SHOWN_SIDE = 1600

# Width of a crop, µm; wider cells get a wider one.
_CROP_UM = 30.0

# Two boxes that share this much of what they cover together are those of one cell.
_SAME_CELL = 0.4

NO_OUTLINE = Reason(
    f"The model finds no outline at this place: a square of {SQUARE_UM:.0f} µm stands for the cell. Name it by hand.",
    abstain=True,
    short="no outline",
    of_image=True,
)

PALE = Reason(
    "Nothing at this place is stained like the nucleus of a white cell. Check the cell.",
    abstain=False,
    short="no nucleus",
    of_image=True,
)


@dataclass(frozen=True)
class CellPlace:
    """Where in a field a cell is.

    Attributes:
        field: Index of the field.
        box: Left, top, right and bottom edge, pixels of the field.
        outline: Corners (x, y) of its outline, pixels of the field.
        crop: The cell with its surroundings, JPEG; empty if it is not kept.
        crop_box: What the crop shows, pixels of the field.
        crop_name: File name of the crop in a download.
        added: Whether a person pointed at the cell; otherwise it was found.
    """

    field: int
    box: Box
    outline: tuple[tuple[float, float], ...]
    crop: bytes = b""
    crop_box: Box = (0, 0, 0, 0)
    crop_name: str = ""
    added: bool = False

    def crop_uri(self, *, with_outline: bool = True) -> str:
        """Returns the crop, large, with the outline of the cell, as a data URI; empty if the crop is not kept."""
        if not self.crop:
            return ""
        with Image.open(io.BytesIO(self.crop)) as stored:
            picture = fit(stored.convert("RGB"), LARGE)
        if with_outline and len(self.outline) > 2:
            left, top, right, bottom = self.crop_box
            factors = picture.width / (right - left), picture.height / (bottom - top)
            mask = Image.new("1", picture.size)
            corners = [((x - left) * factors[0], (y - top) * factors[1]) for x, y in self.outline]
            ImageDraw.Draw(mask).polygon(corners, fill=1)
            picture = outlined(picture, np.asarray(mask))
        return as_uri(picture, quality=90)


@dataclass(frozen=True)
class SlideField:
    """A field of a slide.

    Attributes:
        name: File name.
        digest: SHA-256 of the file.
        shape: Height and width, pixels.
        profile: Scale and stain by which it was searched.
        picture: The field, reduced, JPEG; empty if it is not kept.
        problem: Why it could not be searched, or what is unusual about it; empty if nothing is.
        n_red_cells: Number of red cells; ``None`` if the field was not searched.
    """

    name: str
    digest: str
    shape: tuple[int, int]
    profile: AppearanceProfile | None = None
    picture: bytes = b""
    problem: str = ""
    n_red_cells: int | None = None

    @property
    def microns_per_pixel(self) -> float | None:
        """Its pixel size, µm, if known."""
        return self.profile.scale.microns_per_pixel if self.profile else None

    @property
    def can_be_asked(self) -> bool:
        """Whether the model can be asked for a cell at a place."""
        return bool(self.picture) and self.microns_per_pixel is not None

    def reduced(self) -> tuple[np.ndarray, float]:
        """Returns the pixels (h, w, 3) uint8 of the picture, and its pixels per pixel of the field."""
        with Image.open(io.BytesIO(self.picture)) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        return pixels, pixels.shape[1] / self.shape[1]

    def shown(self) -> str:
        """Returns the picture for the browser as a data URI; empty if it is not kept."""
        if not self.picture:
            return ""
        with Image.open(io.BytesIO(self.picture)) as picture:
            if max(picture.size) <= _SHOWN_SIDE:
                return jpeg_uri(self.picture)
            return jpeg_uri(_jpeg(fit(picture, _SHOWN_SIDE), 85))


def kept_picture(field: Field, microns_per_pixel: float | None) -> bytes:
    """Returns a field as JPEG, reduced to what the model sees, or to what is shown if its scale is unknown."""
    height, width = field.shape
    factor = microns_per_pixel / _KEPT_UM if microns_per_pixel else 1.0
    factor = min(1.0, factor, (_KEPT_SIDE if microns_per_pixel else _SHOWN_SIDE) / max(height, width))
    picture = Image.fromarray(np.ascontiguousarray(field.read(slice(0, height), slice(0, width))))
    if factor < 1:
        picture = picture.resize((max(1, round(width * factor)), max(1, round(height * factor))), Image.Resampling.BOX)
    return _jpeg(picture, 90)


def place_of(
    cell: FoundCell, index: int, field: Field, microns_per_pixel: float, *, name: str, number: int
) -> CellPlace:
    """Returns the place of a found cell, with its crop.

    Args:
        cell: The cell.
        index: Index of its field.
        field: The field, or its reduced picture if the cell is one of that.
        microns_per_pixel: Its pixel size, µm.
        name: File name of the field.
        number: Number of the cell in its field.
    """
    height, width = field.shape
    left, top, right, bottom = crop_box(cell.box, width, height, round(_CROP_UM / microns_per_pixel))
    pixels = np.ascontiguousarray(field.read(slice(top, bottom), slice(left, right)))
    stem = re.sub(r"[^\w-]", "_", PurePosixPath(name).stem)[:60]
    return CellPlace(
        index,
        cell.box,
        tuple(outline_polygon(cell.mask, cell.box[0], cell.box[1])),
        _jpeg(Image.fromarray(pixels), 95),
        (left, top, right, bottom),
        f"crops/{index + 1:03d}_{stem}_{number:04d}.jpg",
    )


def enlarged(place: CellPlace, factor: float) -> CellPlace:
    """Returns a place in a picture as a place in the field that is larger by a factor."""

    def enlarge(box: Box) -> Box:
        left, top, right, bottom = (round(edge * factor) for edge in box)
        return left, top, right, bottom

    outline = tuple((x * factor, y * factor) for x, y in place.outline)
    return replace(place, box=enlarge(place.box), outline=outline, crop_box=enlarge(place.crop_box))


def is_same_cell(one: Box, other: Box) -> bool:
    """Whether two boxes of a field are those of one cell.

    Example:
        >>> is_same_cell((0, 0, 10, 10), (1, 1, 11, 11)), is_same_cell((0, 0, 10, 10), (8, 0, 18, 10))
        (True, False)
    """
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared > _SAME_CELL * (sum(areas) - shared)


def shape_json(place: CellPlace, shape: tuple[int, int]) -> dict[str, Any]:
    """Returns where the browser draws a cell: its box in percent of the field, and its outline as points of an SVG."""
    height, width = shape
    left, top, right, bottom = place.box
    edges = 100 * left / width, 100 * top / height, 100 * (right - left) / width, 100 * (bottom - top) / height
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in place.outline)
    return {"box": [round(edge, 2) for edge in edges], "points": points}


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=quality, subsampling=0)
    return file.getvalue()
