"""DICOM images of visible light, such as VL microscopic images, read with pydicom where it is installed."""

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bc_sam.data.decoding.formats import INSTALL
from bc_sam.data.decoding.limits import check_size
from bc_sam.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_DEFLATED = "1.2.840.10008.1.2.1.99"  # the whole file would be unpacked before its size is known

# pydicom turns all but the first two, and palettes, into RGB; the tag keeps the name of what the file holds.
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# How often pydicom has the values in memory: it converts YBR to RGB in floating point.
_COPIES, _YBR_COPIES = 2, 9

# Pixels whose sides differ by no more than this share are square.
_SQUARE = 0.01


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with these bytes is in the DICOM file format."""
    return head[128:132] == b"DICM"


def decode_dicom(file: BinaryIO, max_pixels: int) -> NDArray:
    """Decodes a single frame.

    Returns:
        Array (H, W) or (H, W, 3), uint8 or uint16, white being the maximum; fewer bits are scaled to the full range,
        as the file says how many there are.

    Raises:
        ImageError: If pydicom is not installed, or the image has several frames or other kinds of values.
    """
    try:
        from pydicom import dcmread
        from pydicom.pixels import apply_color_lut, pixel_array
    except ImportError:
        raise ImageError(f"is a DICOM file, which needs pydicom. {INSTALL}, or convert it to PNG.") from None
    header = dcmread(file, stop_before_pixels=True)
    _check(header, max_pixels)
    file.seek(0)
    pixels = pixel_array(file, index=0)
    if header.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header)
        return pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)
    stored = int(header.BitsStored)
    if header.PhotometricInterpretation == "MONOCHROME1":
        pixels = (1 << stored) - 1 - pixels
    return pixels << (8 * pixels.dtype.itemsize - stored)


def declared_by_dicom(file: BinaryIO) -> tuple[int, int]:
    """Returns the number of pixels that the header declares, and the bytes that decoding takes for each."""
    from pydicom import dcmread

    header = dcmread(file, stop_before_pixels=True)
    kind = header.PhotometricInterpretation
    n_values = 3 if kind == "PALETTE COLOR" else int(header.SamplesPerPixel)
    copies = _YBR_COPIES if kind.startswith("YBR") else _COPIES
    return int(header.Rows) * int(header.Columns), copies * n_values * int(header.BitsAllocated) // 8


def read_spacing(file: BinaryIO) -> float | None:
    """Reads the width of a pixel from the header, mm; ``None`` if it states none, or pixels that are not square.

    The spacing in the specimen counts more than that on the detector.
    """
    try:
        from pydicom import dcmread
    except ImportError:
        return None
    header = dcmread(file, stop_before_pixels=True)
    for spacing in (header.get("PixelSpacing"), *_shared_spacing(header), header.get("ImagerPixelSpacing")):
        if spacing is not None and len(spacing) == 2:
            height, width = map(float, spacing)
            return width if abs(height - width) <= _SQUARE * width else None
    return None


def _shared_spacing(header: "Dataset") -> list[Any]:
    """Returns the pixel spacing that all frames share, if any."""
    groups = header.get("SharedFunctionalGroupsSequence") or []
    measures = [measure for group in groups[:1] for measure in group.get("PixelMeasuresSequence") or []]
    return [measure.get("PixelSpacing") for measure in measures[:1]]


def _check(header: "Dataset", max_pixels: int) -> None:
    if header.file_meta.TransferSyntaxUID == _DEFLATED:
        raise ImageError("is a deflated DICOM file. Convert it to an uncompressed one, or to PNG.")
    if "Rows" not in header or "Columns" not in header:
        raise ImageError("is a DICOM file without an image. Give one with pixel data.")
    check_size((int(header.Columns), int(header.Rows)), max_pixels)
    if (n_frames := int(header.get("NumberOfFrames", 1) or 1)) > 1:
        raise ImageError(f"is a DICOM file of {n_frames} frames. Export the frame of one cell.")
    kind = header.PhotometricInterpretation
    if kind not in (*_GREY, *_COLOURS, "PALETTE COLOR"):
        raise ImageError(f"is a DICOM file with pixels of kind {kind}. Convert it to RGB.")
    if header.BitsAllocated not in (8, 16) or header.PixelRepresentation != 0:
        raise ImageError("is a DICOM file with signed values, or not of 8 or 16 bits. Convert it to 8-bit RGB.")
