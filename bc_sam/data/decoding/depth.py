"""Reduction of deeper values to 8 bits, by the full range of their type.

The full range is used instead of the image's maximum, so that equal exposures stay equal. Values that fill only a
small part of their range, such as those of a 12-bit camera in 16 bits, are refused: by the full range they would be a
black picture, and how many bits they have could only be guessed.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bc_sam.errors import ImageError

# No exposed smear stays below a quarter of the range. Cameras with 8 to 14 bits, stored in 16, do.
_DARKEST_PEAK = 0.25


def check_values(values: NDArray) -> None:
    """Checks that `to_bytes` can reduce an image.

    Args:
        values: Array (H, W) or (H, W, C), of any byte order. A fourth channel is alpha.

    Raises:
        ImageError: If the type is none of uint8, uint16 and floats, or the values do not fit or fill its range.
    """
    if values.dtype == np.uint8:
        return
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        peak = _colours(values).max()
        _check_peak(peak / 65535, f"16-bit values up to {peak}")
    elif values.dtype.kind == "f":
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):
            raise ImageError(
                f"has floating-point values from {low:g} to {high:g}. Scale them to 0..1, without NaN, by the full "
                "range of the camera."
            )
        peak = _colours(values).max()
        _check_peak(float(peak), f"floating-point values up to {peak:g}")
    else:
        raise ImageError(
            f"has values of type {values.dtype.name}. Convert it to uint8, to uint16 over the full range, or to "
            "floats in 0..1."
        )


def to_bytes(values: NDArray) -> NDArray[np.uint8]:
    """Reduces uint8, uint16 (to the high byte), or floats in 0..1 to uint8; see `check_values`.

    Example:
        >>> to_bytes(np.array([[0, 255, 256, 65535]], np.uint16)).tolist()
        [[0, 0, 1, 255]]
    """
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind == "u":
        return (values >> 8).astype(np.uint8)
    return np.rint(values * 255).astype(np.uint8)


def check_high_bytes(image: Image.Image) -> None:
    """Checks the high bytes of an image with 16 bits per channel, which Pillow has reduced to 8.

    Raises:
        ImageError: If they do not fill the range.
    """
    extrema = image.getextrema()
    bands = list(extrema) if isinstance(extrema[0], tuple) else [extrema]
    colours = bands[: 1 if len(bands) == 2 else 3]
    peak = max(high for _, high in colours)
    _check_peak(max(peak, 1) / 255, f"16-bit values below {int(peak + 1) * 256}")


def _check_peak(share: float, what: str) -> None:
    if 0 < share < _DARKEST_PEAK:
        raise ImageError(
            f"has only {what}, as cameras with fewer bits do. Scale them by the full range of the camera first: "
            "for example, multiply 12-bit values in 16 bits by 16."
        )


def _colours(values: NDArray) -> NDArray:
    return values[..., :3] if values.ndim == 3 else values
