"""Measures images and estimates their pixel size in micrometres.

Red cells are 7 to 8 µm wide in every laboratory, so their diameter in pixels serves as a ruler. If there are too few,
the size of the white cell is used instead; it is less accurate, since the size of white cells depends on their type.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bc_sam.data.appearance.light import Rgb, optical_density, white_point
from bc_sam.data.appearance.red_cells import find_red_cells
from bc_sam.data.appearance.resolution_tags import ResolutionTag
from bc_sam.data.appearance.white_cell import find_nuclei, find_white_cell, nucleus_density
from bc_sam.data.strips import resize

#: Median diameter of a red cell on a smear, µm.
RED_CELL_UM = 7.5

#: Median equivalent diameter of white cells, over the types of a differential count, µm. Measured on
#: Acevedo-20, Matek-19 and BCCD (6,679 images) with red cells as the ruler. With it, by annotated mask, lymphocytes of
#: JTSC (299 images, no red cells) are 11.2 µm, neutrophils 14.7 µm and monocytes 15.3 µm wide.
WHITE_CELL_UM = 14.5

#: Plausible pixel sizes of an original image, µm per pixel. Those of five laboratories are 0.07 to 0.19.
PIXEL_SIZE_LIMITS = (0.02, 0.6)

#: Plausible diameters of a white cell, µm; they validate a pixel size that was given or read from a tag.
WHITE_CELL_LIMITS_UM = (4.0, 50.0)

#: A resolution tag that disagrees with the red cells by more than this factor is ignored.
TAG_TOLERANCE = 1.5

#: Minimum number of red cells in an image for them to serve as its ruler.
FEWEST_RED_CELLS = 3

# Red cells serve as a domain's ruler if found in at least this many of its images, or in this share of them.
_FEWEST_IMAGES = 10
_SMALLEST_SHARE = 0.2

# Plausible ratios of the white cell's diameter to that of the red cells; outside, the circles are not red cells.
_WHITE_PER_RED = (0.7, 4.0)

#: Longer side to which images are reduced before they are measured, pixels.
WORKING_SIDE = 176

# Minimum side after that, pixels.
_SMALLEST_SIDE = 8

# Images in which nothing is brighter than this show no glass.
_DARKEST_GLASS = 40.0

#: What a pixel size was derived from.
Ruler = Literal["given", "resolution tag", "red cells", "white cell", "unknown"]


@dataclass(frozen=True)
class Measurement:
    """Measurements of the scale and light of an image.

    Attributes:
        white: Red, green and blue of the empty glass, 0..255.
        centre: Row and column of the white cell's centroid, pixels; the centre of the image if there is none.
        red_cell_px: Median diameter of the red cells, pixels; ``None`` if there are none.
        n_red_cells: Number of red cells found.
        white_cell_px: Equivalent diameter of the white cell, pixels; ``None`` if there is none.
        n_white_cells: Number of white cells whose nucleus is at least half as large as the largest.
        nucleus_density: Optical density of the white cell's nucleus in red, green and blue; ``None`` if there is none.
        nucleus_px: Equivalent diameter of the white cell's nucleus, pixels; ``None`` if there is none.
    """

    white: Rgb
    centre: tuple[float, float]
    red_cell_px: float | None = None
    n_red_cells: int = 0
    white_cell_px: float | None = None
    n_white_cells: int = 0
    nucleus_density: Rgb | None = None
    nucleus_px: float | None = None

    @property
    def has_red_cell_ruler(self) -> bool:
        """Whether there are enough red cells, of a size consistent with that of the white cell."""
        if self.red_cell_px is None or self.n_red_cells < FEWEST_RED_CELLS:
            return False
        return self.white_cell_px is None or _within(self.white_cell_px / self.red_cell_px, _WHITE_PER_RED)

    def rescaled(self, factor: float) -> "Measurement":
        """Returns the measurement of the same image enlarged by a factor.

        Example:
            >>> Measurement((240.0, 240.0, 240.0), (50.0, 50.0), red_cell_px=40.0).rescaled(2).red_cell_px
            80.0
        """
        return replace(
            self,
            centre=(self.centre[0] * factor, self.centre[1] * factor),
            red_cell_px=None if self.red_cell_px is None else self.red_cell_px * factor,
            white_cell_px=None if self.white_cell_px is None else self.white_cell_px * factor,
            nucleus_px=None if self.nucleus_px is None else self.nucleus_px * factor,
        )


@dataclass(frozen=True)
class Scale:
    """A pixel size and what it was derived from.

    Attributes:
        microns_per_pixel: Side of a pixel of the original image, µm; ``None`` if unknown.
        ruler: What the pixel size was derived from.
        n_images: Number of images in which the ruler was found.
        reason: Why better rulers were not used, in full sentences; empty if none was rejected.
    """

    microns_per_pixel: float | None
    ruler: Ruler
    n_images: int = 0
    reason: str = ""


def describe_scale(
    microns_per_pixel: float | None, ruler: str, *, n_found: int, n_measured: int, reason: str = ""
) -> str:
    """Describes the scale of a laboratory.

    Example:
        >>> describe_scale(0.1, "red cells", n_found=9, n_measured=12)
        '0.1 µm per pixel by red cells (9 of 12 images measured).'
    """
    if microns_per_pixel is None:
        return f"unknown. {reason}".rstrip()
    source = "as given" if ruler == "given" else f"by {ruler} ({n_found} of {n_measured} images measured)"
    return f"{microns_per_pixel:.3g} µm per pixel {source}. {reason}".rstrip()


def measure(image: NDArray[np.uint8]) -> Measurement:
    """Measures the white point, red cells and white cell of an image, in about 15 ms on one core.

    Never fails because of an image's content: anything not found is ``None``.

    Args:
        image: (H, W, 3) uint8, RGB, H and W at least 1. One white cell near the middle, with or without red cells.

    Returns:
        The measurement, in pixels of the image.

    Example:
        >>> row, column = np.ogrid[:300, :300]
        >>> image = np.full((300, 300, 3), 240, np.uint8)
        >>> for y, x in ((60, 60), (60, 240), (240, 60), (240, 240)):  # red cells
        ...     image[np.hypot(row - y, column - x) < 30] = (215, 165, 175)
        >>> image[np.hypot(row - 150, column - 150) < 55] = (190, 170, 215)  # cytoplasm
        >>> image[np.hypot(row - 150, column - 150) < 35] = (90, 50, 140)  # nucleus
        >>> found = measure(image)
        >>> found.n_red_cells, round(found.red_cell_px / 60, 1), round(found.white_cell_px / 110, 1)
        (4, 1.0, 1.0)
    """
    white = white_point(image)
    height, width = image.shape[:2]
    unmeasured = Measurement(white, (height / 2, width / 2))
    if max(white) < _DARKEST_GLASS:
        return unmeasured
    factor = min(1.0, WORKING_SIDE / max(height, width))
    density = optical_density(reduce_image(image, factor), white)
    nuclei = find_nuclei(density)
    red_cells = find_red_cells(density, nuclei)
    enough = len(red_cells) >= FEWEST_RED_CELLS
    white_cell = find_white_cell(density, nuclei, red_cells.median_diameter if enough else None)
    diameter = red_cells.median_diameter
    found = replace(
        unmeasured, red_cell_px=None if diameter is None else diameter / factor, n_red_cells=len(red_cells)
    )
    if white_cell is None:
        return found
    row, column = white_cell.centre
    return replace(
        found,
        centre=((row + 0.5) / factor, (column + 0.5) / factor),
        white_cell_px=white_cell.diameter / factor,
        n_white_cells=white_cell.n_cells,
        nucleus_density=nucleus_density(density, white_cell.nucleus),
        nucleus_px=white_cell.nucleus_diameter / factor,
    )


def image_scale(
    measurement: Measurement, *, microns_per_pixel: float | None = None, tag: ResolutionTag | None = None
) -> Scale:
    """Estimates the scale of a single image.

    Prefer `domain_scale` for several images from one microscope: on 341 cells of BCCD and 299 of JTSC, both held out
    from the training of a plain network, per-image scales cost 7 and 16 points of balanced accuracy compared with the
    scale of the laboratory.

    Args:
        measurement: As from `measure`.
        microns_per_pixel: Pixel size given by the user.
        tag: As from `bc_sam.data.appearance.resolution_tags.read_resolution_tag`.

    Returns:
        The scale; see `domain_scale`.

    Example:
        >>> found = Measurement((240.0, 240.0, 240.0), (90.0, 90.0), red_cell_px=75.0, n_red_cells=5)
        >>> image_scale(found)
        Scale(microns_per_pixel=0.1, ruler='red cells', n_images=1, reason='')
    """
    return domain_scale([measurement], microns_per_pixel=microns_per_pixel, tags=[tag])


def domain_scale(
    measurements: Iterable[Measurement],
    *,
    microns_per_pixel: float | None = None,
    tags: Iterable[ResolutionTag | None] = (),
) -> Scale:
    """Estimates the common scale of a laboratory's images.

    Uses the first of these rulers that is plausible:

    1. the pixel size given by the user;
    2. the median resolution tag, if half of the images have one, unless it disagrees with the red cells by more than a
       factor of `TAG_TOLERANCE`;
    3. the median red cell, if at least ten images, or a fifth of them, show three or more;
    4. the median white cell, so that a lymphocyte stays smaller than a monocyte.

    A pixel size is plausible within `PIXEL_SIZE_LIMITS`; one from the user or a tag must also imply a median white
    cell 4 to 50 µm wide.

    Limitations: the standard deviation of single images within a laboratory is 7 % (BCCD, 167 images with red cells of
    341), 7 % (Acevedo-20, 5,509 of 5,543) and 9 % (Matek-19, 683 of 795). The median is 9 % above the 0.0707 µm that
    the archive of Matek-19 states. With white cells alone, the scale depends on the cell types present: medians of
    10 random images vary by 6 % in JTSC and 10 % in BCCD. Images from several microscopes, or resized crops, have no
    common scale, and the median is then correct for none of them.

    Args:
        measurements: Of images from one microscope and camera, in their own pixels.
        microns_per_pixel: Pixel size given by the user.
        tags: Resolution tags of the images, ``None`` for an image without one.

    Returns:
        The scale. If no ruler is plausible, the ruler is ``"unknown"`` and the size ``None``.

    Example:
        >>> found = [Measurement((240.0, 240.0, 240.0), (60.0, 60.0), white_cell_px=px) for px in (80.0, 100.0, 145.0)]
        >>> domain_scale(found)  # doctest: +NORMALIZE_WHITESPACE
        Scale(microns_per_pixel=0.145, ruler='white cell', n_images=3,
              reason='0 of 3 images show enough red cells.')
        >>> domain_scale(found, microns_per_pixel=0.14).ruler
        'given'
    """
    images = list(measurements)
    known_tags = [tag for tag in tags if tag is not None]
    red_cells = _by_red_cells(images)
    white_cell = _median([m.white_cell_px for m in images])
    reasons = []
    for scale in (
        _by_user(microns_per_pixel, white_cell, len(images)) if microns_per_pixel is not None else None,
        _by_tags(known_tags, len(images), white_cell, red_cells) if known_tags else None,
        red_cells,
        _by_white_cells(images, white_cell),
    ):
        if scale is None:
            continue
        if scale.reason:
            reasons.append(scale.reason)
        if scale.microns_per_pixel is not None:
            return replace(scale, reason=" ".join(reasons))
    return Scale(None, "unknown", reason=" ".join(reasons))


def _by_user(size: float, white_cell: float | None, n_images: int) -> Scale:
    objection = _objection(size, white_cell)
    if objection:
        return Scale(None, "given", reason=f"The given {size:g} µm per pixel are ignored: {objection}.")
    return Scale(size, "given", n_images)


def _by_tags(tags: Sequence[ResolutionTag], n_images: int, white_cell: float | None, red_cells: Scale) -> Scale:
    size = float(np.median([tag.microns_per_pixel for tag in tags]))
    display = sum(tag.is_display_default for tag in tags)
    objection = _objection(size, white_cell)
    if 2 * len(tags) < n_images:
        objection = f"only {len(tags)} of {n_images} images have one"
    elif 2 * display > len(tags):
        objection = f"{tags[0].text} is a default for displays, not a measurement"
    elif not objection and red_cells.microns_per_pixel and _ratio(size, red_cells.microns_per_pixel) > TAG_TOLERANCE:
        objection = f"the red cells say {red_cells.microns_per_pixel:.3g} µm per pixel"
    if objection:
        return Scale(
            None, "resolution tag", reason=f"The resolution tag ({size:.3g} µm per pixel) is ignored: {objection}."
        )
    return Scale(size, "resolution tag", len(tags))


def _by_red_cells(images: Sequence[Measurement]) -> Scale:
    diameters = [m.red_cell_px for m in images if m.has_red_cell_ruler and m.red_cell_px]
    if len(diameters) < min(_FEWEST_IMAGES, max(1, _SMALLEST_SHARE * len(images))):
        found = f"{len(diameters)} of {len(images)} images show" if len(images) > 1 else "The image does not show"
        return Scale(None, "red cells", reason=f"{found} enough red cells.")
    size = RED_CELL_UM / float(np.median(diameters))
    objection = _objection(size, None)
    if objection:
        return Scale(None, "red cells", reason=f"What look like red cells are none: {objection}.")
    return Scale(size, "red cells", len(diameters))


def _by_white_cells(images: Sequence[Measurement], diameter: float | None) -> Scale:
    if diameter is None:
        return Scale(None, "white cell", reason="No white cell was found.")
    size = WHITE_CELL_UM / diameter
    objection = _objection(size, None)
    if objection:
        return Scale(None, "white cell", reason=f"What looks like a white cell is none: {objection}.")
    several = sum(m.n_white_cells > 1 for m in images)
    reason = (
        f"{several} of {len(images)} images show several white cells; the most central one counts." if several else ""
    )
    return Scale(size, "white cell", sum(m.white_cell_px is not None for m in images), reason)


def _objection(microns_per_pixel: float, white_cell_px: float | None) -> str:
    """Returns why a pixel size is implausible; empty if it is plausible."""
    if not (math.isfinite(microns_per_pixel) and _within(microns_per_pixel, PIXEL_SIZE_LIMITS)):
        low, high = PIXEL_SIZE_LIMITS
        return f"{microns_per_pixel:.3g} µm per pixel is not within {low} to {high}"
    if white_cell_px is not None and not _within(white_cell_px * microns_per_pixel, WHITE_CELL_LIMITS_UM):
        return f"the white cell would be {white_cell_px * microns_per_pixel:.3g} µm wide"
    return ""


def reduce_image(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Returns an image (H, W, 3) uint8 reduced by a factor of at most 1, for measuring."""
    height, width = (max(_SMALLEST_SIDE, round(side * factor)) for side in image.shape[:2])
    return resize(image, (width, height), Image.Resampling.BOX)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _ratio(one: float, other: float) -> float:
    return max(one / other, other / one)
