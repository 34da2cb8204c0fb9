"""Resamples cells and masks to a common scale and light, and maps masks back to the original image."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bc_sam.data.appearance.light import Rgb, to_reference_light
from bc_sam.data.appearance.magnification import PIXEL_SIZE_LIMITS, Measurement
from bc_sam.data.strips import resize_strips, strips
from bc_sam.errors import ConfigError


@dataclass(frozen=True)
class Window:
    """A square crop of an image, which may extend beyond the image.

    Attributes:
        top: First row, pixels of the image.
        left: First column, pixels of the image.
        side: Side, pixels of the image.
        size: Side of the result, pixels.
    """

    top: int
    left: int
    side: int
    size: int

    def overlap(self, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Returns the overlap with an image (height, width), as rows and columns of the image and of the window.

        Example:
            >>> Window(-2, 1, 4, 8).overlap((10, 10))
            ((slice(0, 2, None), slice(1, 5, None)), (slice(2, 4, None), slice(0, 4, None)))
        """
        starts = np.clip((self.top, self.left), 0, shape[:2])
        stops = np.clip((self.top + self.side, self.left + self.side), starts, shape[:2])
        first, last = (starts - (self.top, self.left)).tolist(), (stops - (self.top, self.left)).tolist()
        rows, columns = (slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True))
        return (rows, columns), (slice(first[0], last[0]), slice(first[1], last[1]))


def cell_window(
    measurement: Measurement,
    shape: tuple[int, ...],
    microns_per_pixel: float | None,
    *,
    target: float,
    size: int,
) -> Window:
    """Returns the window that shows a cell at the target scale, centred on the white cell.

    Args:
        measurement: Measurement of the image.
        shape: Height and width of the image.
        microns_per_pixel: Pixel size of the image, µm. If ``None``, the scale is unknown, and the window is the
            smallest square that contains the whole image.
        target: Pixel size of the result, µm.
        size: Side of the result, pixels.

    Returns:
        The window.

    Raises:
        ConfigError: If `size` or `target` is not positive, or the image's pixel size lies outside `PIXEL_SIZE_LIMITS`.
            The size in a `Scale` never does.

    Example:
        >>> found = Measurement((240.0, 240.0, 240.0), centre=(100.0, 120.0))
        >>> cell_window(found, (200, 240), 0.1, target=0.2, size=60)
        Window(top=40, left=60, side=120, size=60)
        >>> cell_window(found, (200, 240), None, target=0.2, size=60)
        Window(top=-20, left=0, side=240, size=60)
    """
    low, high = PIXEL_SIZE_LIMITS
    if size < 1 or not target > 0:
        raise ConfigError(f"The result must have a positive size and pixel size, not {size} px of {target} µm.")
    if microns_per_pixel is not None and not low <= microns_per_pixel <= high:
        raise ConfigError(f"The pixel size of an image must be {low} to {high} µm, but is {microns_per_pixel}.")
    height, width = shape[:2]
    if microns_per_pixel is None:
        side = max(height, width)
        return Window((height - side) // 2, (width - side) // 2, side, size)
    half = size * target / microns_per_pixel / 2
    row, column = measurement.centre
    return Window(round(row - half), round(column - half), max(2, round(2 * half)), size)


def normalize_image(
    image: NDArray[np.uint8], window: Window, white: Rgb, strength: Sequence[float] | None = (1.0, 1.0, 1.0)
) -> NDArray[np.uint8]:
    """Returns a window of an image in the reference light; pixels beyond the image are filled with glass.

    Args:
        image: (H, W, 3) uint8, RGB.
        window: As from `cell_window`.
        white: Colour of the glass, as in `Measurement.white`.
        strength: Factors for the optical density, as from `stain_strength`; ``None`` leaves the light unchanged,
            including the white point.

    Returns:
        (size, size, 3) uint8, resampled bilinearly, with antialiasing when shrinking.

    Example:
        >>> image = np.full((40, 40, 3), 120, np.uint8)
        >>> shown = normalize_image(image, Window(-10, -10, 40, 20), (240.0, 240.0, 240.0))
        >>> shown[2, 2].tolist(), shown[15, 15].tolist()
        ([240, 240, 240], [120, 120, 120])
    """
    parts: Iterable[NDArray[np.uint8]] = _strips_of(window, image, np.rint(np.clip(white, 0, 255)).astype(np.uint8))
    if strength is not None:
        parts = (to_reference_light(part, white, strength) for part in parts)
    return resize_strips(parts, (window.size, window.size), Image.Resampling.BILINEAR)


def normalize_mask(mask: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """Returns a window of a mask by nearest neighbour; pixels beyond the image are background.

    Args:
        mask: (H, W) uint8.
        window: Same window as for the image.

    Returns:
        (size, size) uint8, with no values other than those of the mask and 0.

    Example:
        >>> normalize_mask(np.full((4, 4), 2, np.uint8), Window(2, 0, 4, 4)).tolist()
        [[2, 2, 2, 2], [2, 2, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]]
    """
    square = np.zeros((window.side, window.side), np.uint8)
    source, place = window.overlap(mask.shape)
    square[place] = mask[source]
    return _resize(square, window.size, Image.Resampling.NEAREST)


def restore_mask(mask: NDArray[np.uint8], window: Window, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Maps a mask predicted in a window back to the pixels of the image; the inverse of `normalize_mask`.

    Args:
        mask: (size, size) uint8.
        window: Window of the mask.
        shape: Height and width of the image.

    Returns:
        (height, width) uint8; background outside the window.

    Example:
        >>> restore_mask(np.ones((2, 2), np.uint8), Window(1, -1, 2, 2), (4, 3)).tolist()
        [[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]
    """
    restored = np.zeros(shape[:2], np.uint8)
    target, place = window.overlap(shape)
    restored[target] = _resize(mask, window.side, Image.Resampling.NEAREST)[place]
    return restored


def _strips_of(window: Window, image: NDArray[np.uint8], background: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yields the rows of a window of an image (H, W, 3), strip by strip; the colour (3,) is beyond the image."""
    (_, columns), (inside, place) = window.overlap(image.shape)
    for rows in strips(window.side, window.side):
        part = np.empty((rows.stop - rows.start, window.side, 3), np.uint8)
        part[:] = background
        first, last = np.clip((inside.start, inside.stop), rows.start, rows.stop).tolist()
        part[first - rows.start : last - rows.start, place] = image[first + window.top : last + window.top, columns]
        yield part


def _resize(pixels: NDArray[np.uint8], side: int, method: Image.Resampling) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((side, side), method))
