"""One image as the encoder sees it: stretched to a square as in the paper, or at the common scale and light."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.appearance.light import Rgb
from bc_sam.data.appearance.magnification import PIXEL_SIZE_LIMITS, WHITE_CELL_LIMITS_UM, Measurement, Scale, measure
from bc_sam.data.appearance.normalization import Window, cell_window, normalize_image, normalize_mask, restore_mask
from bc_sam.data.appearance.profile import AppearanceProfile, estimate_profile, own_profile, with_own_scale
from bc_sam.data.appearance.resolution_tags import ResolutionTag, read_resolution_tag
from bc_sam.data.decoding_budget import memory_for
from bc_sam.data.images import MAX_PIXELS, read_pixels, to_square
from bc_sam.errors import ConfigError, ImageError

# A nucleus of a white cell is at least this wide, µm (equivalent diameter), or at least this dense in red light.
# Smaller and paler, at the scale of the laboratory, are 68 of the 72 platelets of Acevedo-20, none of its 286
# erythroblasts, whose small nuclei are dark, none of 311 of its other cells and of 202 of Matek-19, and one each of
# 150 of JTSC and of 120 of Raabin-WBC.
_LEAST_NUCLEUS_UM = 7.5
_LEAST_NUCLEUS_DENSITY = 1.1

#: Maximum number of images measured for the profile of a laboratory; takes about a second on one core.
PROFILE_SAMPLE = 60

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class PreparedImage:
    """An image as the encoder sees it.

    Attributes:
        pixels: (S, S, 3) uint8, RGB.
        shape: Height and width of the original image, pixels.
        window: The part of the original that is seen; ``None`` if the whole image was stretched to a square.
        scale: The pixel size of the original; ``None`` without normalization.
        scale_problem: Why the cell's size cannot be trusted, in a sentence; empty if it can, or without normalization.
        n_white_cells: Number of white cells in the whole image, of which the encoder sees the most central one; 0
            without normalization.
        no_nucleus: Whether what is stained like a nucleus is too small and too pale for one; false without
            normalization.
        white: Red, green and blue of the empty glass, 0..255; ``None`` without normalization.
    """

    pixels: NDArray[np.uint8]
    shape: tuple[int, int]
    window: Window | None = None
    scale: Scale | None = None
    scale_problem: str = ""
    n_white_cells: int = 0
    no_nucleus: bool = False
    white: Rgb | None = None

    @property
    def size_assumed(self) -> bool:
        """Whether the cell itself is the only ruler, so that it is taken to be of average size."""
        return self.scale is not None and self.scale.ruler == "white cell" and self.scale.n_images == 1

    def see_mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns a mask (h, w) uint8 of the original, at any size, as the encoder sees it: (S, S) uint8."""
        if self.window is None:
            return _resized(mask, (len(self.pixels), len(self.pixels)))
        return normalize_mask(mask if mask.shape == self.shape else _resized(mask, self.shape), self.window)

    def restore(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Maps a mask (S, S) bool of what the encoder sees back to the original, (H, W) bool."""
        if self.window is None:
            return _resized(mask, self.shape)
        return restore_mask(mask.astype(np.uint8), self.window, self.shape) > 0

    def restore_map(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps non-negative values (s, s) over what the encoder sees to the original, (H, W); 0 where it sees none."""
        height, width = self.shape if self.window is None else (self.window.side,) * 2
        resized = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))
        if self.window is None:
            return resized
        restored = np.zeros(self.shape, np.float32)
        target, place = self.window.overlap(self.shape)
        restored[target] = resized[place]
        return restored


@dataclass(frozen=True)
class Preparation:
    """How images are prepared for an encoder.

    Attributes:
        image_size: Side of the encoder's square input, pixels.
        normalization: The normalization of scale and light; ``None`` stretches the whole image to a square, as the
            original BC-SAM does.
        profile: The profile of the laboratory; ``None`` measures each image by itself.
        microns_per_pixel: Pixel size given by the user, for images without a profile.
    """

    image_size: int
    normalization: NormalizationConfig | None = None
    profile: AppearanceProfile | None = None
    microns_per_pixel: float | None = None

    @property
    def needs_tag(self) -> bool:
        """Whether the resolution tag of each image matters: if the laboratory has no common scale."""
        known = self.profile is not None and self.profile.scale.microns_per_pixel is not None
        return self.normalization is not None and not known

    def prepare(self, image: Image.Image | NDArray[np.uint8], tag: ResolutionTag | None = None) -> PreparedImage:
        """Prepares one image.

        Args:
            image: Image of mode ``"RGB"``, or array (H, W, 3).
            tag: Resolution tag of its file; used only if the laboratory has no common scale.

        Returns:
            What the encoder sees.

        Example:
            >>> seen = Preparation(64, NormalizationConfig()).prepare(Image.new("RGB", (100, 90), "white"))
            >>> seen.pixels.shape, seen.window.side, seen.scale.ruler
            ((64, 64, 3), 100, 'unknown')
        """
        pixels = np.asarray(image)
        shape = pixels.shape[0], pixels.shape[1]
        if self.normalization is None:
            return PreparedImage(to_square(pixels, self.image_size), shape)
        found = measure(pixels)
        profile = self.profile
        if profile is None or profile.scale.microns_per_pixel is None:
            own = own_profile(found, microns_per_pixel=self.microns_per_pixel, tag=tag)
            profile = own if profile is None else with_own_scale(profile, own)
        microns = profile.scale.microns_per_pixel
        target = self.normalization.field_of_view / self.image_size
        window = cell_window(found, shape, microns, target=target, size=self.image_size)
        strength = profile.strength if self.normalization.stain else (1.0, 1.0, 1.0)
        return PreparedImage(
            normalize_image(pixels, window, found.white, strength),
            shape,
            window,
            profile.scale,
            _scale_problem(found, microns),
            found.n_white_cells,
            _has_no_nucleus(found, microns, profile.strength),
            found.white,
        )


def require_pixel_size(microns_per_pixel: float | None) -> None:
    """Checks a pixel size given by the user.

    Raises:
        ConfigError: If it is not plausible for a microscope.
    """
    low, high = PIXEL_SIZE_LIMITS
    if microns_per_pixel is not None and not low <= microns_per_pixel <= high:
        raise ConfigError(
            f"microns_per_pixel must be between {low} and {high} µm, but is {microns_per_pixel}. Cameras on a "
            "microscope with a 40x to 100x objective have 0.03 to 0.25 µm per pixel."
        )


def profile_sources(
    sources: Sequence[Any], *, microns_per_pixel: float | None = None, max_pixels: int = MAX_PIXELS
) -> AppearanceProfile | None:
    """Estimates the profile of a laboratory from at most `PROFILE_SAMPLE` of its images, evenly spaced.

    Args:
        sources: Images of one laboratory; see `bc_sam.data.images.read_image`. Unreadable ones are skipped.
        microns_per_pixel: Pixel size given by the user.
        max_pixels: Maximum number of pixels of an image; larger ones are skipped.

    Returns:
        The profile; ``None`` if fewer than two images can be read.

    Example:
        >>> profile_sources([np.full((90, 90, 3), 240, np.uint8)] * 2).scale.ruler
        'unknown'
    """
    require_pixel_size(microns_per_pixel)
    sampled = [sources[index] for index in sample_evenly(len(sources))]
    measure_one = partial(measure_source, max_pixels=max_pixels)
    measured = [found for found in map_in_threads(measure_one, sampled) if found is not None]
    if len(measured) < 2:
        return None
    tags = (tag for _, tag in measured)
    return estimate_profile((m for m, _ in measured), microns_per_pixel=microns_per_pixel, tags=tags)


def measure_source(source: Any, *, max_pixels: int = MAX_PIXELS) -> tuple[Measurement, ResolutionTag | None] | None:
    """Measures an image and reads its resolution tag; returns ``None`` if it cannot be read."""
    try:
        with memory_for(source, max_pixels=max_pixels):
            return measure(read_pixels(source, max_pixels=max_pixels)), read_resolution_tag(source)
    except ImageError:
        return None


def sample_of(images: Iterable[T]) -> tuple[list[T], Iterable[T]]:
    """Draws a sample for `profile_sources` from images.

    Args:
        images: A sequence, from which images are chosen evenly, or an iterator, whose first images are taken.

    Returns:
        The sample, and all images.

    Example:
        >>> sample, images = sample_of(iter("cells"))
        >>> "".join(sample), "".join(images)
        ('cells', 'cells')
    """
    if isinstance(images, Sequence):
        return [images[index] for index in sample_evenly(len(images))], images
    stream = iter(images)
    sample = list(islice(stream, PROFILE_SAMPLE))
    return sample, chain(sample, stream)


def sample_evenly(n: int, most: int = PROFILE_SAMPLE) -> list[int]:
    """Chooses at most `most` of n indices, evenly spaced so that a sorted data set contributes all of its classes.

    Example:
        >>> sample_evenly(5, 3)
        [0, 2, 4]
    """
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist() if n else []


def map_in_threads(function: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """Applies a function to each value in threads, and returns the results in order."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, values))


def _resized(mask: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    height, width = shape
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST), dtype=mask.dtype)


def _has_no_nucleus(found: Measurement, microns_per_pixel: float | None, strength: Rgb) -> bool:
    """Returns whether what was taken for a nucleus is too small and too pale for one, such as a platelet.

    The density is that of the image or that at the reference stain, whichever is lower: `strength` is unreliable if it
    comes from this image alone, or from images of platelets only.
    """
    if microns_per_pixel is None or found.nucleus_px is None or found.nucleus_density is None:
        return False
    density = found.nucleus_density[0] * min(1.0, strength[0])
    return found.nucleus_px * microns_per_pixel < _LEAST_NUCLEUS_UM and density < _LEAST_NUCLEUS_DENSITY


def _scale_problem(found: Measurement, microns_per_pixel: float | None) -> str:
    if microns_per_pixel is None:
        return "The scale could not be measured: neither red cells nor a white cell were found."
    if found.white_cell_px is None:
        return "No white cell was found."
    width, (low, high) = found.white_cell_px * microns_per_pixel, WHITE_CELL_LIMITS_UM
    if not low <= width <= high:
        return f"The cell would be {width:.3g} µm wide, and white cells are 8 to 25 µm wide. Check the pixel size."
    return ""
