"""Image quality from pixels alone: blank images, out-of-focus images and near-duplicates."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter
from tqdm import tqdm

from bc_sam.utils.memmap import StoredArray

# All thresholds were measured on 3,530 real cells of three laboratories, at 224 px.
# Standard deviation of the grey levels: at least 24.
_MIN_CONTRAST = 10.0
# Log sharpness: the laboratories' medians are -2.1, -2.3 and -2.9. Copies blurred with a radius of 3 px reach at most
# -3.8 in any laboratory, also with added noise; the 12 real cells below that are out of focus.
_MIN_SHARPNESS = -3.8
# Maximum distance below the laboratory's median: no sharp cell exceeds it; three in four copies of the sharpest
# laboratory's cells that were blurred with a radius of 2 px do.
_MAX_BELOW_MEDIAN = 1.4
# Correlation of two cells in the best of eight orientations: at most 0.85 for any two of the 3,530. Copies that were
# restained, shifted by 1 % of their width, enlarged by 4 %, or shrunk to 60 % and strongly compressed: 0.93 or more.
# Cells at one scale, centred on the white cell, are more alike: 60 of 6,679 images reach 0.9 with a different cell, 6
# reach 0.93.
_MIN_CORRELATION = 0.93

_THUMBNAIL = 16
_CHUNK = 256
_BLOCK = 128
_MAX_COMPARED = 50_000


@dataclass(frozen=True)
class Quality:
    """Quality measures of n images.

    Attributes:
        contrast: (n,) float32, standard deviation of the grey levels, 0..127.
        sharpness: (n,) float32, log ratio of the energy of fine (about 3 px) to coarse (about 15 px) structures;
            independent of stain and contrast. Measured at the model's input size.
        thumbnails: (n, 256) float32, high-pass filtered 16 x 16 grey levels of unit norm; zeros for blank images.
    """

    contrast: np.ndarray
    sharpness: np.ndarray
    thumbnails: np.ndarray

    @property
    def blank(self) -> np.ndarray:
        """Whether each image is blank, (n,) bool."""
        return self.contrast < _MIN_CONTRAST

    def blurred(self, domains: np.ndarray) -> np.ndarray:
        """Whether each image is out of focus, absolutely or relative to its laboratory, (n,) bool.

        Args:
            domains: (n,) integers, the laboratory of each image.
        """
        thresholds = np.full(len(domains), _MIN_SHARPNESS)
        for domain in np.unique(domains[~self.blank]):
            in_domain = domains == domain
            median = np.median(self.sharpness[in_domain & ~self.blank])
            thresholds[in_domain] = max(_MIN_SHARPNESS, median - _MAX_BELOW_MEDIAN)
        return ~self.blank & (self.sharpness < thresholds)


def measure_quality(pixels: np.ndarray | StoredArray, *, quiet: bool = False) -> Quality:
    """Measures the quality of every image, about a millisecond each, in constant memory apart from the result.

    Args:
        pixels: (n, S, S, 3) uint8, S at least 16, in memory or on disk.
        quiet: Whether to hide the progress bar.

    Example:
        >>> cells = np.zeros((2, 64, 64, 3), np.uint8)
        >>> cells[1, 16:48, 16:48] = 200
        >>> measure_quality(cells, quiet=True).blank.tolist()
        [True, False]
    """
    measures = np.zeros((len(pixels), 2), np.float32)
    thumbnails = np.zeros((len(pixels), _THUMBNAIL, _THUMBNAIL), np.float32)
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(pixels), desc="Measuring image quality", unit="image", disable=quiet or None) as bar,
    ):
        for start in range(0, len(pixels), _CHUNK):
            chunk = slice(start, min(start + _CHUNK, len(pixels)))
            results = pool.map(_measure, pixels[chunk])
            for row, (contrast, sharpness, thumbnail) in enumerate(results, start):
                measures[row], thumbnails[row] = (contrast, sharpness), thumbnail
            bar.update(chunk.stop - start)
    return Quality(measures[:, 0], measures[:, 1], _normalize(thumbnails))


def _measure(image: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Returns the contrast, the sharpness and the 16 x 16 thumbnail of an image (S, S, 3)."""
    red, green, blue = np.moveaxis(image, 2, 0)
    grey = (red.astype(np.float32) + green + blue) / 3
    step = len(grey) // _THUMBNAIL
    side = step * _THUMBNAIL
    thumbnail = grey[:side, :side].reshape(_THUMBNAIL, step, _THUMBNAIL, step).mean(axis=(1, 3))
    return float(grey.std()), _sharpness(grey), thumbnail


def _sharpness(grey: np.ndarray) -> float:
    """Compares two frequency bands of an image (S, S); the first filter of each removes the camera noise."""
    fine, coarse = uniform_filter(grey, 3), uniform_filter(grey, 11)
    detail = (fine - uniform_filter(fine, 5)).var()
    structure = (coarse - uniform_filter(coarse, 21)).var()
    return float(np.log((detail + 1e-6) / (structure + 1e-6)))


def _normalize(thumbnails: np.ndarray) -> np.ndarray:
    """Removes low frequencies, which all cells share (a round blob in the centre), and scales to unit norm."""
    details = (thumbnails - gaussian_filter(thumbnails, (0, 2, 2))).reshape(len(thumbnails), _THUMBNAIL**2)
    norm = np.linalg.norm(details, axis=1, keepdims=True)
    return np.divide(details, norm, out=np.zeros_like(details), where=norm > 1)


def find_near_duplicates(thumbnails: np.ndarray, units: np.ndarray) -> list[tuple[int, int]]:
    """Finds near-duplicates in different units, also if flipped or rotated by multiples of 90 degrees.

    Unlike `bc_sam.data.splits.find_copies`, it finds copies that were restained, strongly compressed, or slightly
    shifted or enlarged. All pairs are compared, in about a minute for 35,000 images on two CPU cores; beyond 50,000
    images, an evenly spaced subset of that size is compared.

    Args:
        thumbnails: (n, 256), from `measure_quality`.
        units: (n,) integers. Images of the same unit, such as a slide, are not compared.

    Returns:
        Pairs of row indices in ascending order: each image with its most similar image, if similar enough.
    """
    if len(thumbnails) > _MAX_COMPARED:
        chosen = np.linspace(0, len(thumbnails) - 1, _MAX_COMPARED).astype(int)
        found = find_near_duplicates(thumbnails[chosen], units[chosen])
        return [(int(chosen[first]), int(chosen[second])) for first, second in found]
    pairs = set()
    for start in range(0, len(thumbnails), _BLOCK):
        block = slice(start, start + _BLOCK)
        correlation = _correlation(thumbnails[block], thumbnails)
        correlation[units[block, None] == units] = -1
        nearest = correlation.argmax(axis=1)
        for row in np.flatnonzero(correlation.max(axis=1, initial=-1) > _MIN_CORRELATION):
            pairs.add((min(start + row, nearest[row]), max(start + row, nearest[row])))
    return sorted((int(first), int(second)) for first, second in pairs)


def _correlation(block: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """Returns the maximum correlation over orientations of m images with all n images, (m, n)."""
    correlation = np.full((len(block), len(thumbnails)), -1, np.float32)
    for oriented in _orientations(block):
        np.maximum(correlation, oriented @ thumbnails.T, out=correlation)
    return correlation


def _orientations(thumbnails: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the images (n, 256) in each of the eight orientations."""
    squares = thumbnails.reshape(-1, _THUMBNAIL, _THUMBNAIL)
    for mirrored in (squares, squares[:, ::-1]):
        for quarter_turns in range(4):
            yield np.rot90(mirrored, quarter_turns, axes=(1, 2)).reshape(len(squares), -1)
