"""The cells of a slide as they were photographed: small enough to keep thousands of them, shown large on demand."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bc_sam.data.appearance.normalization import Window, normalize_image
from bc_sam.data.decoding_budget import memory_for
from bc_sam.data.images import MAX_PIXELS, read_image
from bc_sam.models.observation import InspectedCell
from bc_sam.space.views.pictures import LARGE, SMALL, as_uri, fit, outlined

# Longest sides that are tried, pixels, until a picture needs at most so many bytes. Cells photographed through a 100x
# objective are 300 to 500 pixels wide with their surroundings, 10 to 25 KB, and keep every pixel.
_SIDES = (LARGE, 480, 400, 300, 200)
_MOST_BYTES = 30_000
_QUALITY = 88

# What is shown around the square that the model sees, as a share of its side, on each side.
_MARGIN = 0.25


@dataclass(frozen=True)
class OriginalPicture:
    """A cell with its surroundings in the pixels and light of the photograph.

    Attributes:
        jpeg: The picture, as JPEG.
        outline: Packed bits of the mask (see `numpy.packbits`); empty if the model predicts no masks.
        side: Side of the mask, pixels.
        has_margin: Whether the picture shows more than the square that the model sees, and its mask.
    """

    jpeg: bytes
    outline: bytes = b""
    side: int = 0
    has_margin: bool = False

    @classmethod
    def of(cls, cell: InspectedCell) -> "OriginalPicture | None":
        """Reads the image of an inspected cell again, and cuts out what the model saw of it, with a margin.

        Args:
            cell: The cell.

        Returns:
            The picture; ``None`` if the image could not be read.
        """
        if cell.observed is None or cell.prepared is None:
            return None
        window, white = cell.prepared.window, cell.prepared.white
        with memory_for(cell.source, max_pixels=MAX_PIXELS):
            picture = read_image(cell.source)
            if window is not None and white is not None:
                margin = round(_MARGIN * window.side)
                side = window.side + 2 * margin
                shown = Window(window.top - margin, window.left - margin, side, min(side, LARGE))
                picture = Image.fromarray(normalize_image(np.asarray(picture), shown, white, None))
            jpeg = _compressed(picture)
        mask, has_margin = cell.observed.mask, window is not None
        if mask is None:
            return cls(jpeg, has_margin=has_margin)
        return cls(jpeg, np.packbits(mask).tobytes(), len(mask), has_margin)

    def as_uri(self, side: int = LARGE, quality: int = 90) -> str:
        """Returns the picture with the outline of the cell as a data URI, `side` pixels along its longer side.

        Example:
            >>> file = io.BytesIO(); Image.new("RGB", (90, 60)).save(file, "JPEG")
            >>> OriginalPicture(file.getvalue()).as_uri()[:22]
            'data:image/jpeg;base64'
        """
        return as_uri(self._drawn(side), quality=quality)

    @property
    def thumbnail(self) -> str:
        """The picture for a table, without the margin, as a data URI."""
        if not self.has_margin:
            return self.as_uri(SMALL, quality=75)
        picture = self._drawn(round(SMALL * (1 + 2 * _MARGIN)))
        edge = (picture.width - SMALL) // 2
        return as_uri(picture.crop((edge, edge, edge + SMALL, edge + SMALL)), quality=75)

    def _drawn(self, side: int) -> Image.Image:
        with Image.open(io.BytesIO(self.jpeg)) as stored:
            stored.draft("RGB", (side, side))  # decodes a half or a quarter of the pixels where these are enough
            picture = fit(stored.convert("RGB"), side)
        if not self.outline:
            return picture
        bits = np.unpackbits(np.frombuffer(self.outline, np.uint8), count=self.side**2)
        mask = bits.reshape(self.side, self.side).astype(bool)
        return outlined(picture, np.pad(mask, round(_MARGIN * self.side)) if self.has_margin else mask)


def _compressed(picture: Image.Image) -> bytes:
    """Returns a picture as JPEG, reduced if it is larger or noisier than a photograph of a cell."""
    for side in _SIDES:
        file = io.BytesIO()
        shown = picture if max(picture.size) <= side else fit(picture, side)
        shown.save(file, "JPEG", quality=_QUALITY)
        if file.tell() <= _MOST_BYTES:
            break
    return file.getvalue()
