"""What reading a file takes, by its header: a small file may hold a large image."""

from typing import BinaryIO, NamedTuple

from PIL import Image

from bc_sam.data.decoding.dicom import declared_by_dicom, is_dicom
from bc_sam.data.decoding.formats import PILLOW_FORMATS
from bc_sam.data.decoding.heif import is_heif, open_heif
from bc_sam.data.decoding.tiff import declared_by_tifffile, is_tiff, open_with_pillow

# Peak bytes per pixel of reading images of 16 million pixels, rounded up: decoded pixels, copies that the decoders
# make, and the result of 3. Of Pillow, JPEG, PNG, GIF and TIFF take 4.9 to 9.1, WebP 17.5.
_PILLOW, _WEBP, _HEIF = 9, 18, 9
# tifffile's values are shifted or inverted.
_TIFF_COPIES = 2
_RESULT = 4


class Declared(NamedTuple):
    """What a header declares.

    Attributes:
        n_pixels: Width times height.
        bytes_per_pixel: What reading takes at its peak.
    """

    n_pixels: int
    bytes_per_pixel: int


def declared(file: BinaryIO) -> Declared:
    """Reads the header of a file at its start, by the decoder that `decode` chooses.

    Raises:
        Exception: Whatever a decoder raises on damaged data, or if the file is of a kind that is not read.

    Example:
        >>> from io import BytesIO
        >>> file = BytesIO()
        >>> Image.new("RGB", (30, 20)).save(file, "PNG")
        >>> declared(BytesIO(file.getvalue()))
        Declared(n_pixels=600, bytes_per_pixel=9)
    """
    head = file.read(132)
    file.seek(0)
    if is_dicom(head):
        n_pixels, size = declared_by_dicom(file)
        return Declared(n_pixels, size + _RESULT)
    if is_heif(head):
        with open_heif(file) as image:
            return Declared(image.width * image.height, _HEIF)
    if is_tiff(head):
        with open_with_pillow(file) as trusted:
            if trusted is not None:
                return Declared(trusted.width * trusted.height, _PILLOW)
        n_pixels, size = declared_by_tifffile(file)
        return Declared(n_pixels, _TIFF_COPIES * size + _RESULT)
    with Image.open(file, formats=tuple(PILLOW_FORMATS)) as image:
        return Declared(image.width * image.height, _WEBP if image.format == "WEBP" else _PILLOW)


def declared_in_memory(n_pixels: int) -> Declared:
    """Returns what reading an array or a Pillow image takes, besides itself."""
    return Declared(n_pixels, _PILLOW)
