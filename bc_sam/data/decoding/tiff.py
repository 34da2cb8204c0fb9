"""TIFF files: read by Pillow where it reads them correctly, else by tifffile, or refused.

Pillow reads several kinds without complaint and incorrectly: uncompressed 16-bit planes apart become noise, 16-bit
white-is-zero a negative, compressed big-endian values come with their bytes swapped, and of colours on pages of their
own only the first is read. `tests/data/decoding/test_tiff.py` compares all kinds with other readers.
"""

import ctypes
import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from bc_sam.data.decoding.formats import INSTALL
from bc_sam.data.decoding.limits import check_size
from bc_sam.errors import ImageError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Numbers of the TIFF tags, and values of them.
_BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION, _SAMPLES, _PLANAR, _SAMPLE_FORMAT = 258, 259, 262, 270, 277, 284, 339
_MAXIMA = (281, 341)  # MaxSampleValue and SMaxSampleValue
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_UNSIGNED = 1
_WEBP = 50001
_PREMULTIPLIED = 1

# Compressions that tifffile may decode: none, LZW, Deflate (two numbers), PackBits, LZMA and Zstandard. Their output
# is limited to the declared size, unlike that of codecs whose data declare a size of their own.
_COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 50000)
_LONGEST_DESCRIPTION = 100_000

# As four channels of 16 bits have. Images of the largest size with more, such as 64-bit colours, are refused.
_MOST_BYTES_PER_PIXEL = 8


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a TIFF."""
    return head[:4] in _SIGNATURES


@contextmanager
def open_with_pillow(file: BinaryIO) -> Iterator[Image.Image | None]:
    """Opens a TIFF lazily; yields ``None`` if Pillow does not read this kind, or reads it incorrectly."""
    _silence_libtiff()
    try:
        image = Image.open(file, formats=("TIFF",))
    except UnidentifiedImageError:
        yield None
        return
    with image:
        yield image if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_read_correctly(image) else None


def decode_with_tifffile(file: BinaryIO, max_pixels: int) -> NDArray:
    """Decodes the first page, or the three colours that are on pages of their own.

    Args:
        file: Open TIFF.
        max_pixels: Maximum width times height.

    Returns:
        Array (H, W), (H, W, 3) or (H, W, 4), of the type in the file; 9 to 15 bits are scaled to 16, also those that
        only the tags MaxSampleValue and SMaxSampleValue or OME's SignificantBits state.

    Raises:
        ImageError: If the image is too large, or of a kind that is not read.
    """
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else warnings would go to the terminal
    file.seek(0)
    # Without is_ome, tifffile would open other files that the metadata name.
    with tifffile.TiffFile(file, is_ome=False) as tiff:
        page = tiff.pages.first
        stack = _Stack.of(page.description[:_LONGEST_DESCRIPTION])
        _check_page(page, max_pixels)
        if stack is None or stack.n_planes(page.samplesperpixel) == 1:
            return _pixels(page)
        return _join_colours(tiff, stack, max_pixels)


def declared_by_tifffile(file: BinaryIO) -> tuple[int, int]:
    """Returns the number of pixels that the header declares, and the bytes of each; see `decode_with_tifffile`."""
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file, is_ome=False) as tiff:
        page = tiff.pages.first
        stack = _Stack.of(page.description[:_LONGEST_DESCRIPTION])
        n_planes = 1 if stack is None else stack.n_planes(page.samplesperpixel)
        return page.imagewidth * page.imagelength, n_planes * _bytes_per_pixel(page)


def _is_read_correctly(image: TiffImagePlugin.TiffImageFile) -> bool:
    tags = image.tag_v2
    description = str(tags.get(_DESCRIPTION, ""))[:_LONGEST_DESCRIPTION]
    stack = _Stack.of(description)
    n_samples = tags.get(_SAMPLES, 1)
    if stack is not None and stack.n_planes(n_samples) != 1:
        return False
    if tags.get(_COMPRESSION) == _WEBP or any(value != _UNSIGNED for value in tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))):
        return False
    kind, apart = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO), tags.get(_PLANAR, 1) != 1
    bits = max(tags.get(_BITS, (1,)))
    if bits <= 8:
        return kind in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR) and not (
            apart and n_samples not in (1, 3)
        )
    if bits != 16 or (apart and n_samples > 1) or _stated_bits(_maxima(tags), description) is not None:
        return False
    return kind in (_RGB, _CMYK) or (kind == _BLACK_IS_ZERO and n_samples == 1 and tags.prefix == b"II")


def _maxima(tags: Mapping[int, Any]) -> list[object]:
    """Returns the largest values of the samples that Pillow's tags state."""
    return [value for number in _MAXIMA for value in np.ravel(tags.get(number, ())).tolist()]


def _stated_bits(maxima: Sequence[object], description: str) -> int | None:
    """Returns the bits of a camera, 8 to 15, that a file of 16 bits states; ``None`` if it states none.

    Args:
        maxima: Values of the tags MaxSampleValue and SMaxSampleValue. Only those of all bits set state a depth, as
            some programs write the largest value of the image at hand.
        description: The description, which may be OME metadata.
    """
    found = {int(bits) for bits in re.findall(r'\bSignificantBits="(\d{1,2})"', description) if "<OME" in description}
    found |= {bits for bits in range(8, 17) for value in maxima if value == (1 << bits) - 1}
    return found.pop() if len(found) == 1 and min(found) in range(8, 16) else None


@dataclass(frozen=True)
class _Stack:
    """The dimensions that OME or ImageJ state for a file of several pages.

    Attributes:
        channels: Number of channels, including those within a page.
        others: Number of focal planes times that of time points.
        names: Names of the channels; empty if there are none.
    """

    channels: int
    others: int
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, description: str) -> "_Stack | None":
        if description.startswith("ImageJ="):
            sizes = {key: int(value) for key, value in re.findall(r"^(\w+)=(\d{1,9})\s*$", description, re.MULTILINE)}
            channels = max(sizes.get("channels", 1), 1)
            return cls(channels, max(sizes.get("images", 1) // channels, 1))
        if "<OME" in description:
            sizes = {key: int(value) for key, value in reversed(re.findall(r'\bSize([CZT])="(\d{1,9})"', description))}
            names = re.findall(r'<(?:\w+:)?Channel\b[^>]*?\bName="([^"]{0,80})"', description)
            return cls(sizes.get("C", 1), sizes.get("Z", 1) * sizes.get("T", 1), tuple(names))
        return None

    def n_planes(self, n_samples: int) -> int:
        """Returns the number of pages, which have so many channels each."""
        return max(self.channels // max(n_samples, 1), 1) * self.others

    def order(self) -> list[int]:
        """Returns the places of red, green and blue: by name if all are named, else as they come."""
        found = [
            [place for place, name in enumerate(self.names) if re.search(pattern, name, re.IGNORECASE)]
            for pattern in (r"^r$|\bred", r"^g$|\bgreen", r"^b$|\bblue")
        ]
        return [places[0] for places in found] if all(len(places) == 1 for places in found) else [0, 1, 2]


def _join_colours(tiff: "TiffFile", stack: _Stack, max_pixels: int) -> NDArray:
    page = tiff.pages.first
    if stack.others > 1:
        raise ImageError(
            f"is a stack of {stack.others} focal planes or time points. Export one of them as an RGB image."
        )
    if stack.channels != 3 or page.samplesperpixel != 1:
        raise ImageError(f"has {stack.channels} channels on pages of their own, not 3. Export it as an RGB image.")
    if len(tiff.pages) >= 3:
        pages = [tiff.pages.get(number).aspage() for number in range(3)]
        for page in pages:
            _check_page(page, max_pixels)
        colours = [_pixels(page) for page in pages]
    else:  # ImageJ may describe the first plane only, which the others follow
        colours = list(tiff.series[0].asarray(maxworkers=1).reshape(3, page.imagelength, page.imagewidth))
    if len({(colour.shape, colour.dtype) for colour in colours}) > 1 or colours[0].ndim != 2:
        raise ImageError("has colours of different sizes or types. Export it as an RGB image.")
    return np.stack([colours[place] for place in stack.order()], axis=2)


def _check_page(page: "TiffPage", max_pixels: int) -> None:
    """Checks what a page declares, before its pixels are decoded."""
    check_size((page.imagewidth, page.imagelength), max_pixels)
    check_size((max(page.tilewidth, 1), max(page.tilelength, 1)), max_pixels)
    if page.imagewidth * page.imagelength * _bytes_per_pixel(page) > _MOST_BYTES_PER_PIXEL * max_pixels:
        raise ImageError(
            f"has {page.imagewidth} x {page.imagelength} pixels of {_bytes_per_pixel(page)} bytes, more than "
            f"{_MOST_BYTES_PER_PIXEL * max_pixels} bytes. Crop it to one cell, or export it as an 8-bit RGB image."
        )
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        raise ImageError(f"is a TIFF with pixels of kind {_name(page.photometric)}. Convert it to RGB.")
    bits = page.bitspersample
    if page.samplesperpixel > 4 or page.imagedepth > 1 or page.tiledepth > 1 or bits > 64 or page.dtype is None:
        raise ImageError(
            f"is a TIFF of {page.samplesperpixel} channels with {bits} bits, which is not read. Convert it to RGB."
        )
    if page.samplesperpixel in (2, 4) and _PREMULTIPLIED in page.extrasamples:
        raise ImageError("is a TIFF with premultiplied transparency of a rare kind. Convert it to RGB.")
    if page.compression not in _COMPRESSIONS:
        raise ImageError(
            f"is a TIFF with {_name(page.compression)} compression, which is not read. Save it with LZW or without."
        )
    if page.compression != 1 and importlib.util.find_spec("imagecodecs") is None:
        raise ImageError(
            f"is a TIFF with {_name(page.compression)} compression, which needs imagecodecs for this kind of image. "
            f"{INSTALL}, or save it without compression."
        )
    size = page.parent.filehandle.size
    ends = zip(page.dataoffsets, page.databytecounts, strict=True)
    if not page.dataoffsets or any(count <= 0 or offset <= 0 or offset + count > size for offset, count in ends):
        raise ValueError("pixels are missing")  # tifffile would read them as 0


def _bytes_per_pixel(page: "TiffPage") -> int:
    return int(page.samplesperpixel) * -(-int(page.bitspersample) // 8)


def _pixels(page: "TiffPage") -> NDArray:
    values = page.asarray(maxworkers=1)
    if page.axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    if values.shape[:2] != (page.imagelength, page.imagewidth):
        raise ValueError(f"pixels of shape {values.shape}")
    bits = page.bitspersample
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        values = _over_full_range(values, page) if bits == 16 else values << (16 - bits)
    if page.photometric == _WHITE_IS_ZERO:
        values = (np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1) - values
    if page.samplesperpixel == 2:
        return values[..., [0, 0, 0, 1]]
    has_alpha = any(page.extrasamples)
    return values if values.ndim == 2 or has_alpha else values[..., :3]


def _over_full_range(values: NDArray, page: "TiffPage") -> NDArray:
    """Scales 16-bit values by the bits that the file states, if any."""
    maxima = [
        value for number in _MAXIMA if number in page.tags for value in np.ravel(page.tags[number].value).tolist()
    ]
    first = page.parent.pages.first  # OME metadata are on the first page only
    bits = _stated_bits(maxima, first.description[:_LONGEST_DESCRIPTION])
    if bits is None:
        return values
    if values.max() >> bits:
        raise ImageError(
            f"states {bits} bits per value, but has values up to {values.max()}. Correct its tags, or export it as an "
            "8-bit RGB image."
        )
    return values << (16 - bits)


def _name(value: object) -> str:
    return str(getattr(value, "name", value))


@cache
def _silence_libtiff() -> None:
    """Keeps libtiff from writing to the terminal about each damaged file; Pillow raises the error anyway."""
    with suppress(OSError, AttributeError):  # where libtiff is not a library of its own, its words are not reachable
        libtiff = ctypes.CDLL(Image.core.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(libtiff, name)
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)
