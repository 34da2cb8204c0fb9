"""What pixels alone tell of an image: that it is blank, that it is out of focus, or that it was seen before."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter
from tqdm import tqdm

from bc_sam.utils.memmap import DiskArray

# Measured on 3,530 real cells of three laboratories, at 224 px. In grey levels, the least contrast is 24.
_BLANK = 10.0
# Sharpness is a logarithm, of which the laboratories' medians are -2.1, -2.3 and -2.9. Copies blurred by a radius of
# 3 px reach -3.8 at most, in any laboratory, with noise on top too; the 12 real cells below that are out of focus.
_SOFTEST = -3.8
# Below its laboratory's median by more than this a cell is an outlier: no sharp one is; of the sharpest laboratory's
# copies, blurred by a radius of 2 px, three in four are.
_SOFTER = 1.4
# Correlation of two cells, the best of eight orientations: at most 0.85 for any two of the 3,530. Copies that were
# stained anew, shifted by 1 % of their width, enlarged by 4 %, or shrunk to 60 % and much compressed: 0.93 or more.
_ALIKE = 0.9

_THUMBNAIL = 16
_CHUNK = 256
_BLOCK = 128
_COMPARED = 50_000


@dataclass(frozen=True)
class Quality:
    """Measures of each of n images.

    Attributes:
        contrast: (n,) float32, standard deviation of the grey levels, 0..127.
        sharpness: (n,) float32, logarithm of the energy of fine detail (about 3 px) over that of coarse (about 15 px);
            whatever the stain and the contrast. It is the detail that the model sees, at the size that it sees.
        thumbnails: (n, 256) float32 of length 1: 16 x 16 grey levels less their slow part; zeros if nothing is left.
    """

    contrast: np.ndarray
    sharpness: np.ndarray
    thumbnails: np.ndarray

    @property
    def blank(self) -> np.ndarray:
        """Whether an image shows nothing, (n,) bool."""
        return self.contrast < _BLANK

    def blurred(self, domains: np.ndarray) -> np.ndarray:
        """Whether an image is out of focus, by itself or beside the others of its laboratory, (n,) bool.

        Args:
            domains: (n,) integers, the laboratory of each image.
        """
        limits = np.full(len(domains), _SOFTEST)
        for domain in np.unique(domains[~self.blank]):
            own = domains == domain
            limits[own] = max(_SOFTEST, np.median(self.sharpness[own & ~self.blank]) - _SOFTER)
        return ~self.blank & (self.sharpness < limits)


def measure_quality(pixels: np.ndarray | DiskArray, *, quiet: bool = False) -> Quality:
    """Looks at every image once, about a millisecond each, in constant memory beside the result.

    Args:
        pixels: (n, S, S, 3) uint8, S at least 16; it may lie on disk.
        quiet: Show no progress.

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
        tqdm(total=len(pixels), desc="Looking at images", unit="image", disable=quiet) as bar,
    ):
        for start in range(0, len(pixels), _CHUNK):
            chunk = slice(start, min(start + _CHUNK, len(pixels)))
            looked_at = pool.map(_look, pixels[chunk])
            for row, (contrast, sharpness, thumbnail) in enumerate(looked_at, start):
                measures[row], thumbnails[row] = (contrast, sharpness), thumbnail
            bar.update(chunk.stop - start)
    return Quality(measures[:, 0], measures[:, 1], _to_unit_length(thumbnails))


def _look(image: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Contrast, sharpness and 16 x 16 means of an image (S, S, 3)."""
    red, green, blue = np.moveaxis(image, 2, 0)
    grey = (red.astype(np.float32) + green + blue) / 3
    step = len(grey) // _THUMBNAIL
    side = step * _THUMBNAIL
    thumbnail = grey[:side, :side].reshape(_THUMBNAIL, step, _THUMBNAIL, step).mean(axis=(1, 3))
    return float(grey.std()), _sharpness(grey), thumbnail


def _sharpness(grey: np.ndarray) -> float:
    """Compares two bands of an image (S, S); the first average of each takes the camera's noise away."""
    fine, coarse = uniform_filter(grey, 3), uniform_filter(grey, 11)
    detail = (fine - uniform_filter(fine, 5)).var()
    form = (coarse - uniform_filter(coarse, 21)).var()
    return float(np.log((detail + 1e-6) / (form + 1e-6)))


def _to_unit_length(thumbnails: np.ndarray) -> np.ndarray:
    """Takes light and slow changes of it away, which all cells share: a round blot in the middle."""
    quick = (thumbnails - gaussian_filter(thumbnails, (0, 2, 2))).reshape(len(thumbnails), _THUMBNAIL**2)
    length = np.linalg.norm(quick, axis=1, keepdims=True)
    return np.divide(quick, length, out=np.zeros_like(quick), where=length > 1)


def find_lookalikes(thumbnails: np.ndarray, units: np.ndarray) -> list[tuple[int, int]]:
    """Finds images of different units that are nearly the same, also if flipped or turned by right angles.

    It finds what `bc_sam.data.splits.find_copies` does not: copies that were stained anew, strongly compressed, or
    moved or enlarged a little. Every image is compared with every other, 35,000 in about a minute on two processor
    cores; of more than 50,000, only so many, evenly chosen, are looked at.

    Args:
        thumbnails: (n, 256), from `measure_quality`.
        units: (n,) integers. Images of one unit, such as a slide, are not compared.

    Returns:
        Pairs of rows, the first below the second: for each image the one that it is most like, if it is like any.
    """
    if len(thumbnails) > _COMPARED:
        chosen = np.linspace(0, len(thumbnails) - 1, _COMPARED).astype(int)
        found = find_lookalikes(thumbnails[chosen], units[chosen])
        return [(int(chosen[first]), int(chosen[second])) for first, second in found]
    pairs = set()
    for start in range(0, len(thumbnails), _BLOCK):
        block = slice(start, start + _BLOCK)
        likeness = _likeness(thumbnails[block], thumbnails)
        likeness[units[block, None] == units] = -1
        most = likeness.argmax(axis=1)
        for row in np.flatnonzero(likeness.max(axis=1, initial=-1) > _ALIKE):
            pairs.add((min(start + row, most[row]), max(start + row, most[row])))
    return sorted((int(first), int(second)) for first, second in pairs)


def _likeness(block: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """Correlation (m, n) of the images of a block with all, in the orientation in which they are most alike."""
    likeness = np.full((len(block), len(thumbnails)), -1, np.float32)
    for turned in _orientations(block):
        np.maximum(likeness, turned @ thumbnails.T, out=likeness)
    return likeness


def _orientations(thumbnails: np.ndarray) -> Iterator[np.ndarray]:
    """Gives the images (n, 256) in their eight orientations."""
    squares = thumbnails.reshape(-1, _THUMBNAIL, _THUMBNAIL)
    for mirrored in (squares, squares[:, ::-1]):
        for quarters in range(4):
            yield np.rot90(mirrored, quarters, axes=(1, 2)).reshape(len(squares), -1)
