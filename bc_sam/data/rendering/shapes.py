"""Pixel grid in micrometres, and shapes as signed distance fields.

A *field* is a float32 array that is positive inside a shape, negative outside, and in micrometres near its edge. All
shapes are described in micrometres, so that a cell can be rendered at any magnification and image size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

Array = NDArray[np.float32]
Range = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """A square field of view, centred on the origin.

    Attributes:
        size: Side of the image, pixels.
        width: Side of the field of view, micrometres.
    """

    size: int
    width: float

    @property
    def pixel(self) -> float:
        """Side of a pixel, micrometres."""
        return self.width / self.size

    @cached_property
    def x(self) -> Array:
        """Column positions, micrometres, float32 (1, size)."""
        centres = (np.arange(self.size) + 0.5) * self.pixel - self.width / 2
        return centres.astype(np.float32)[None, :]

    @cached_property
    def y(self) -> Array:
        """Row positions, micrometres, float32 (size, 1)."""
        return self.x.T

    def window(self, centre: NDArray[np.floating], radius: float) -> tuple[slice, slice]:
        """Returns the rows and columns within `radius` micrometres of a point (x, y); empty if outside the frame."""
        corner = (centre[::-1] - radius) / self.pixel + self.size / 2
        start = np.clip(np.floor(corner), 0, self.size).astype(int)
        stop = np.clip(np.ceil(corner + 2 * radius / self.pixel), 0, self.size).astype(int)
        return slice(start[0], stop[0]), slice(start[1], stop[1])

    def coverage(self, field: Array) -> Array:
        """Returns the antialiased fraction of each pixel inside a shape, 0..1."""
        return np.clip(field / np.float32(self.pixel) + np.float32(0.5), 0, 1)

    def noise(self, grain: float, rng: np.random.Generator) -> Array:
        """Returns smooth noise with zero mean and about unit deviation, float32 (size, size).

        Args:
            grain: Correlation length, micrometres.
            rng: Random generator. The number of draws does not depend on the image size.
        """
        nodes = max(2, round(self.width / grain))
        values = rng.standard_normal((nodes, nodes)).astype(np.float32)
        smooth = Image.fromarray(values).resize((self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(smooth, dtype=np.float32) / np.float32(0.7)  # compensates for interpolation


def outline(amplitudes: Sequence[float], rng: np.random.Generator) -> Array:
    """Samples the relative radii of an irregular disc at 1,024 equally spaced angles, float32 (1024,), mean 1.

    Args:
        amplitudes: Maximum relative amplitudes of the harmonics 2, 3, 4, ...
        rng: Random generator of phases and amplitudes, which are half to all of the maximum.
    """
    count = len(amplitudes)
    phases = np.exp(2j * np.pi * rng.random(count))
    spectrum = np.zeros(513, dtype=complex)
    spectrum[0] = 1024
    spectrum[2 : 2 + count] = 512 * np.asarray(amplitudes) * rng.uniform(0.5, 1.0, count) * phases
    return np.fft.irfft(spectrum).astype(np.float32)


def rounded(x: Array, y: Array, radii: Array) -> Array:
    """Returns the field of a shape around the origin from its radii (micrometres) at angles from 0 to 2 pi."""
    turn = np.arctan2(y, x) * np.float32(len(radii) / (2 * np.pi))
    return radii[np.rint(turn).astype(np.int32) % len(radii)] - np.hypot(x, y)


def stroke(x: Array, y: Array, spine: Array, radii: Array) -> Array:
    """Returns the field of a thick curve, the union of discs along a spine.

    Args:
        x: Column positions, micrometres.
        y: Row positions, micrometres.
        spine: Centres of the discs, micrometres, (n, 2).
        radii: Radii of the discs, micrometres, (n,).
    """
    field = np.full(np.broadcast_shapes(x.shape, y.shape), -np.inf, dtype=np.float32)
    for (centre_x, centre_y), radius in zip(spine, radii, strict=True):
        np.maximum(field, radius - np.hypot(x - centre_x, y - centre_y), out=field)
    return field


def dots(frame: Frame, centres: NDArray[np.floating], radii: NDArray[np.floating], weights: ArrayLike = 1.0) -> Array:
    """Returns the maximum thickness of many small lenses at each pixel, (size, size).

    Args:
        frame: Field of view.
        centres: x and y of each lens, micrometres, (n, 2).
        radii: Radius of each lens, micrometres, (n,).
        weights: Central thickness, a scalar or (n,); the rim is half as thick.
    """
    covered = np.zeros((frame.size, frame.size), dtype=np.float32)
    if not len(radii):
        return covered
    centres, radii = centres.astype(np.float32)[:, :, None, None], radii.astype(np.float32)[:, None, None]
    reach = int(np.ceil(radii.max() / frame.pixel)) + 1
    step = np.arange(-reach, reach + 1)
    nearest = np.floor((centres + frame.width / 2) / frame.pixel).astype(int)
    columns = np.clip(nearest[:, 0] + step[None, :], 0, frame.size - 1)
    rows = np.clip(nearest[:, 1] + step[:, None], 0, frame.size - 1)
    distance = np.hypot(frame.x[0, columns] - centres[:, 0], frame.y[rows, 0] - centres[:, 1])
    weight = np.broadcast_to(np.asarray(weights, dtype=np.float32), len(radii))[:, None, None]
    thickness = weight * (1 - np.minimum(distance / radii, 1) ** 2 / 2)
    np.maximum.at(covered, (rows, columns), thickness * frame.coverage(radii - distance))
    return covered


def scattered(
    frame: Frame,
    allowed: NDArray[np.bool_],
    radii: NDArray[np.floating],
    rng: np.random.Generator,
    weights: ArrayLike = 1.0,
) -> Array:
    """Returns `dots` with centres sampled uniformly from the allowed pixels, (size, size); zeros if there are none."""
    rows, columns = np.nonzero(allowed)
    if not len(rows):
        return np.zeros((frame.size, frame.size), dtype=np.float32)
    chosen = (rng.random(len(radii)) * len(rows)).astype(int)
    centres = np.stack([frame.x[0, columns[chosen]], frame.y[rows[chosen], 0]], axis=1)
    return dots(frame, centres, radii, weights)
