"""Fields of any size as rectangles of pixels: decoded images, and large TIFF files and slides read in parts."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tifffile
from numpy.typing import NDArray

from bc_sam.data.decoding_budget import memory_for
from bc_sam.data.images import MAX_PIXELS, read_pixels
from bc_sam.errors import ImageError

#: Endings of scanned slides, which are read with OpenSlide.
SLIDE_SUFFIXES = frozenset({".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide"})

_TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".tf8"})

# Colour models of TIFF that hold red, green and blue, or decode to them.
_RGB, _YCBCR = 2, 6


class Field(Protocol):
    """A field that can be read in parts."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""

    @property
    def microns_per_pixel(self) -> float | None:
        """Pixel size that the scanner states, µm; ``None`` if it does not."""

    def read(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Reads a rectangle inside the field: (H, W, 3) uint8, RGB.

        Raises:
            ImageError: If this part is damaged.
        """


@dataclass(frozen=True)
class WholeField:
    """A decoded image: pixels (H, W, 3) uint8, RGB."""

    pixels: NDArray[np.uint8]
    microns_per_pixel: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def read(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Returns a rectangle."""
        return self.pixels[rows, columns]


class TiffField:
    """The full resolution of a TIFF, BigTIFF or OME-TIFF, of which only the needed tiles or strips are decoded.

    Args:
        file: The open file.
        name: Its name, for messages.
    """

    def __init__(self, file: tifffile.TiffFile, name: str) -> None:
        self._page, self._name = file.pages[0], name
        page: Any = self._page
        colours = int(page.photometric) in (_RGB, _YCBCR)
        if page.dtype != np.uint8 or page.samplesperpixel not in (3, 4) or page.planarconfig != 1 or not colours:
            raise ImageError(
                f"{name} is too large to be decoded as a whole, and is not RGB of 8 bits per channel in one plane, "
                "which is read in parts. Convert it, or crop it to fields of a few thousand pixels."
            )
        if page.chunks[0] * page.chunks[1] > MAX_PIXELS:
            raise ImageError(f"{name} is stored in one piece, which cannot be read in parts. Save it with tiles.")
        self.shape: tuple[int, int] = (page.imagelength, page.imagewidth)
        self.microns_per_pixel: float | None = None

    def read(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Decodes a rectangle."""
        page: Any = self._page
        height, width = page.chunks[:2]
        across = -(-self.shape[1] // width)
        pixels = np.full((rows.stop - rows.start, columns.stop - columns.start, 3), 255, np.uint8)
        for down in range(rows.start // height, -(-rows.stop // height)):
            for along in range(columns.start // width, -(-columns.stop // width)):
                segment = self._decode(down * across + along)
                if segment is None:  # sparse files leave out empty tiles
                    continue
                top, left = down * height, along * width
                first, last = max(rows.start, top), min(rows.stop, top + segment.shape[0])
                start, stop = max(columns.start, left), min(columns.stop, left + segment.shape[1])
                place = (
                    slice(first - rows.start, last - rows.start),
                    slice(start - columns.start, stop - columns.start),
                )
                pixels[place] = segment[first - top : last - top, start - left : stop - left, :3]
        return pixels

    def _decode(self, index: int) -> NDArray[np.uint8] | None:
        page: Any = self._page
        try:
            handle = page.parent.filehandle
            handle.seek(page.dataoffsets[index])
            data = handle.read(page.databytecounts[index])
            tables = page.jpegtables
            decoded = page.decode(data, index, jpegtables=tables) if tables is not None else page.decode(data, index)
        except Exception as error:  # decoders raise almost any built-in exception on damaged input
            raise ImageError(f"{self._name} is damaged in tile {index} ({error}).") from error
        segment = decoded[0]
        return None if segment is None else np.asarray(segment[0])


class SlideField:
    """The full resolution of a scanned slide.

    Args:
        path: The slide, which `close` closes.

    Raises:
        ImageError: If OpenSlide is not installed, or cannot read it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slide = _open_slide(path)
        width, height = self._slide.dimensions
        self.shape: tuple[int, int] = (height, width)
        stated = self._slide.properties.get("openslide.mpp-x")
        self.microns_per_pixel: float | None = float(stated) if stated else None

    def close(self) -> None:
        """Closes the slide."""
        self._slide.close()

    def read(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Decodes a rectangle."""
        import openslide

        size = (columns.stop - columns.start, rows.stop - rows.start)
        try:
            region = self._slide.read_region((columns.start, rows.start), 0, size)
        except openslide.OpenSlideError as error:
            # After an error, OpenSlide refuses to read anything else until the slide is opened again.
            self._slide.close()
            self._slide = _open_slide(self._path)
            raise ImageError(f"{self._path} is damaged ({error}).") from error
        return read_pixels(region)


@contextmanager
def open_field(source: Any) -> Iterator[Field]:
    """Opens a field.

    Args:
        source: As for `bc_sam.data.images.read_image`. TIFF files of more than `MAX_PIXELS` pixels and scanned slides
            are read in parts, in constant memory.

    Raises:
        ImageError: If it cannot be read, or is too large for its format.
    """
    path = Path(source) if isinstance(source, str | PathLike) else None
    if path is not None and path.suffix.lower() in SLIDE_SUFFIXES and path.is_file():
        with closing(SlideField(path)) as slide:
            yield slide
    elif path is not None and _is_large_tiff(path):
        with tifffile.TiffFile(path) as file:
            yield TiffField(file, str(path))
    else:
        with memory_for(source, max_pixels=MAX_PIXELS):
            pixels = read_pixels(source, max_pixels=MAX_PIXELS)
        yield WholeField(pixels)


def _is_large_tiff(path: Path) -> bool:
    if path.suffix.lower() not in _TIFF_SUFFIXES or not path.is_file():
        return False
    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            return bool(page.imagelength * page.imagewidth > MAX_PIXELS)
    except Exception:  # decoders raise almost any built-in exception; `read_image` says what is wrong
        return False


def _open_slide(path: Path) -> Any:
    try:
        import openslide
    except ImportError:
        raise ImageError(
            f"{path} is a scanned slide, which needs OpenSlide. Install it: pip install 'bc_sam[slides]'"
        ) from None
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideError as error:
        raise ImageError(f"{path} is no slide that OpenSlide can read ({error}). Export it as BigTIFF.") from error
