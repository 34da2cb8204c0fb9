"""Chooses the decoder of a file by its content, never by its name."""

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bc_sam.data.decoding.depth import check_high_bytes
from bc_sam.data.decoding.dicom import decode_dicom, is_dicom
from bc_sam.data.decoding.formats import PILLOW_FORMATS
from bc_sam.data.decoding.heif import is_heif, open_heif
from bc_sam.data.decoding.limits import check_size
from bc_sam.data.decoding.tiff import decode_with_tifffile, is_tiff, open_with_pillow

_NUMERIC_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def decode(file: BinaryIO, max_pixels: int) -> Image.Image | NDArray:
    """Decodes the first page or frame of a file.

    Args:
        file: Open binary file, at its start.
        max_pixels: Maximum width times height, checked before decoding.

    Returns:
        As `pixels_of`.

    Raises:
        ImageError: If the image is too large, or of a kind that is not read; the message lacks the file's name.
        Exception: Whatever a decoder raises on damaged data.
    """
    head = file.read(132)
    file.seek(0)
    if is_dicom(head):
        return decode_dicom(file, max_pixels)
    if is_heif(head):
        with open_heif(file) as image:
            return pixels_of(image, max_pixels)
    if is_tiff(head):
        with open_with_pillow(file) as trusted:
            return decode_with_tifffile(file, max_pixels) if trusted is None else pixels_of(trusted, max_pixels)
    with Image.open(file, formats=tuple(PILLOW_FORMATS)) as image:
        return pixels_of(image, max_pixels)


def pixels_of(image: Image.Image, max_pixels: int, *, in_place: bool = True) -> Image.Image | NDArray:
    """Decodes an open image with its EXIF orientation applied.

    Args:
        image: The image.
        max_pixels: As for `decode`.
        in_place: Turn the image itself, instead of a copy.

    Returns:
        The image; or an array (H, W), if it has one channel of more than 8 bits.
    """
    check_size(image.size, max_pixels)
    deep = any(";16" in str(tile) for tile in getattr(image, "tile", ()))  # known until the pixels are loaded
    if in_place:
        ImageOps.exif_transpose(image, in_place=True)
        upright = image
    else:
        upright = ImageOps.exif_transpose(image)
    if upright.mode in _NUMERIC_MODES:
        return np.asarray(upright)
    if deep:
        check_high_bytes(upright)
    return upright
