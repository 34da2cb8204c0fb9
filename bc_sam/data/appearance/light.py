"""White point, optical density and stain strength of smear images, and their normalization to a reference."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

#: One value each for red, green and blue.
Rgb = tuple[float, float, float]
Floats = NDArray[np.float32]

#: Reference optical density (natural logarithm) of nuclei in red, green and blue. Medians of 40
#: images: Acevedo-20 (1.29, 2.09, 0.41), JTSC (1.03, 2.67, 0.67), Matek-19 (1.03, black, 0.28).
NUCLEUS_DENSITY: Rgb = (1.15, 2.2, 0.42)

#: Smallest and largest factor by which `stain_strength` scales an optical density.
STRENGTH_LIMITS = (0.5, 3.0)

#: Grey level of empty glass in the reference light.
GLASS_LEVEL = 240.0

# Upper limit of a nucleus's density, since sensors clip: nuclei of Matek-19 have no green light left, and taking their
# density at face value cost 11 points of balanced accuracy on its 423 cells of five classes (0.47 instead of 0.58).
_LARGEST_DENSITY = 2.5

# Lower limit of a nucleus's density, which keeps the factor finite.
_SMALLEST_DENSITY = 0.02

# Longer side of the subsampled image in which the white point is measured, pixels.
_WHITE_POINT_SIDE = 160


def white_point(image: NDArray[np.uint8]) -> Rgb:
    """Estimates the colour of the empty glass.

    Every stain of a smear absorbs green, so the brightest green is glass. Averaging over 3 x 3 pixels suppresses
    isolated bright pixels. If cells cover the whole image, the estimate is the brightest part of a cell, which is too
    dark, and the normalized image becomes too bright.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        Red, green and blue, each 1..255.

    Example:
        >>> image = np.full((40, 40, 3), (250, 230, 220), np.uint8)
        >>> image[10:30, 10:30] = (120, 60, 150)
        >>> white_point(image)
        (250.0, 230.0, 220.0)
    """
    step = max(1, max(image.shape[:2]) // _WHITE_POINT_SIDE)
    # One channel after the other, in which NumPy and SciPy are several times as fast.
    channels = image[::step, ::step].transpose(2, 0, 1).astype(np.float32, order="C")
    smooth = ndimage.uniform_filter(channels, (1, 3, 3)).reshape(3, -1)
    green = smooth[1]
    glass = smooth[:, np.flatnonzero(green >= 0.95 * np.percentile(green, 99))]
    return _rgb(np.maximum(np.median(glass, axis=1, overwrite_input=True), 1))


def optical_density(image: NDArray[np.number], white: Rgb) -> Floats:
    """Returns the optical density of each pixel (natural logarithm), which is proportional to the amount of stain.

    Args:
        image: (H, W, 3), 0..255.
        white: Colour of the glass, as from `white_point`.

    Returns:
        (H, W, 3) float32, from 0 (glass) to 5.5 (black); in memory, one channel after the other.

    Example:
        >>> optical_density(np.full((1, 1, 3), 120, np.uint8), (240.0, 240.0, 120.0)).round(2).tolist()
        [[[0.6899999976158142, 0.6899999976158142, 0.0]]]
    """
    channels = image.transpose(2, 0, 1).astype(np.float32, order="C")
    transmitted = channels / np.maximum(np.asarray(white, np.float32), 1)[:, None, None]
    density: Floats = np.abs(np.log(np.clip(transmitted, 1 / 255, 1))).transpose(1, 2, 0)
    return density


def stain_strength(nucleus_densities: Iterable[Rgb | None]) -> Rgb:
    """Returns the factors that scale the nuclei of a laboratory, or of one image, to `NUCLEUS_DENSITY`.

    The median over a laboratory preserves the differences between its cells. Factors computed from a single image also
    remove how dark its nucleus is, which helps to distinguish cell types.

    Args:
        nucleus_densities: Optical densities of nuclei, as in `Measurement.nucleus_density`; ``None`` for an image
            without a nucleus.

    Returns:
        Factors for red, green and blue within `STRENGTH_LIMITS`; 1 if no image shows a nucleus.

    Example:
        >>> stain_strength([(0.575, 2.2, 0.42), None])
        (2.0, 1.0, 1.0)
        >>> stain_strength([])
        (1.0, 1.0, 1.0)
    """
    known = [density for density in nucleus_densities if density is not None]
    if not known:
        return 1.0, 1.0, 1.0
    density = np.clip(np.median(known, axis=0), _SMALLEST_DENSITY, _LARGEST_DENSITY)
    return _rgb(np.clip(np.asarray(NUCLEUS_DENSITY) / density, *STRENGTH_LIMITS))


def to_reference_light(
    image: NDArray[np.uint8], white: Rgb, strength: Sequence[float] = (1.0, 1.0, 1.0), level: float = GLASS_LEVEL
) -> NDArray[np.uint8]:
    """Maps the glass to a fixed grey and scales the optical density of each channel.

    A strength of 1 only rescales the intensities, so optical densities are unchanged.

    Args:
        image: (H, W, 3) uint8, RGB.
        white: Colour of the glass, as from `white_point`.
        strength: Factor for the optical density of each channel, as from `stain_strength`.
        level: Grey level of the glass in the result.

    Returns:
        (H, W, 3) uint8; values above 255 are clipped.

    Example:
        >>> pixels = np.array([[(250, 200, 160), (125, 100, 160)]], np.uint8)
        >>> to_reference_light(pixels, (250.0, 200.0, 160.0)).tolist()
        [[[240, 240, 240], [120, 120, 240]]]
    """
    return np.asarray(Image.fromarray(image).point(_table(white, strength, level)))


def _table(white: Rgb, strength: Sequence[float], level: float) -> list[int]:
    """Returns the 768 values that `to_reference_light` gives red, green and blue from 0 to 255, for `Image.point`."""
    transmitted = np.arange(256, dtype=np.float32)[:, None] / np.maximum(np.asarray(white, np.float32), 1)
    table = np.clip(transmitted ** np.asarray(strength, np.float32) * level + 0.5, 0, 255).astype(np.uint8)
    return table.T.ravel().tolist()


def _rgb(values: NDArray[np.floating]) -> Rgb:
    red, green, blue = values.tolist()
    return red, green, blue
