"""HEIC and HEIF images, as phones write them, read with pillow-heif where it is installed."""

from contextlib import AbstractContextManager
from typing import BinaryIO

from PIL import Image

from bc_sam.data.decoding.formats import INSTALL
from bc_sam.errors import ImageError

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")


def is_heif(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a HEIF image."""
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


def open_heif(file: BinaryIO) -> AbstractContextManager[Image.Image]:
    """Opens the primary image, reading only the header. Its rotation is applied on decoding.

    Raises:
        ImageError: If pillow-heif is not installed.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageError(f"is a HEIC image, which needs pillow-heif. {INSTALL}, or convert it to PNG.") from None
    return HeifImageFile(file)
