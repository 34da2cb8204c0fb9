"""Scale, light and stain of fields, from windows spread over them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from bc_sam.data.appearance.light import Rgb, optical_density, stain_strength, white_point
from bc_sam.data.appearance.magnification import WORKING_SIDE, Measurement, domain_scale, measure, reduce_image
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.appearance.red_cells import find_red_cells
from bc_sam.data.appearance.resolution_tags import ResolutionTag
from bc_sam.data.appearance.white_cell import find_nuclei
from bc_sam.data.fields.nuclei import examine_tile, is_nucleus_coloured, reduce_tile
from bc_sam.data.fields.sources import Field
from bc_sam.errors import ImageError

# Windows are squares of this side at most, halved until the last one is smaller than that, pixels. A red cell of the
# smallest plausible pixel size fills a tenth of the largest.
_LARGEST_SIDE = 4096
_SMALLEST_SIDE = 100

# Widths of red cells, as shares of a window's side, that its measurement gets right.
_RED_CELL_OF_WINDOW = (0.08, 0.4)

# Longer side of the subsampled image in which glass is sought, pixels.
_GLASS_SIDE = 400

# Where windows lie, as shares of the height and width that are left.
_PLACES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))


@dataclass(frozen=True)
class FieldSurvey:
    """What windows of one field show.

    Attributes:
        measurement: Median white point and red cells; its lengths are in pixels of the field.
        windows: The windows that were measured, (H, W, 3) uint8 each.
    """

    measurement: Measurement
    windows: tuple[NDArray[np.uint8], ...]


def survey_field(field: Field) -> FieldSurvey:
    """Measures the light and the red cells of a field of any size.

    The size of the windows is that in which most red cells are found, since neither the magnification nor how much a
    field shows is known beforehand.

    Args:
        field: The field.

    Example:
        >>> from bc_sam.data.fields.sources import WholeField
        >>> survey_field(WholeField(np.full((300, 300, 3), 240, np.uint8))).measurement.n_red_cells
        0
    """
    best: tuple[int, list[Measurement], list[NDArray[np.uint8]]] | None = None
    for windows in _windows_by_size(field):
        found = [measure_window(window) for window in windows]
        counted = [m for m in found if m.has_red_cell_ruler and _fits(m, max(windows[0].shape[:2]))]
        n_red_cells = sum(m.n_red_cells for m in counted)
        if best is None or n_red_cells > best[0]:
            best = n_red_cells, counted, windows
    assert best is not None  # there is at least one size
    n_red_cells, counted, windows = best
    diameters = [m.red_cell_px for m in counted if m.red_cell_px]
    measurement = Measurement(
        _white(windows),
        (field.shape[0] / 2, field.shape[1] / 2),
        red_cell_px=float(np.median(diameters)) if diameters else None,
        n_red_cells=n_red_cells,
    )
    return FieldSurvey(measurement, tuple(windows))


def survey_light(field: Field) -> FieldSurvey:
    """Measures the light of a field only, for fields whose scale is known."""
    windows = next(_windows_by_size(field))
    return FieldSurvey(Measurement(_white(windows), (field.shape[0] / 2, field.shape[1] / 2)), tuple(windows))


def fields_profile(
    surveys: Sequence[FieldSurvey],
    *,
    microns_per_pixel: float | None = None,
    tags: Sequence[ResolutionTag | None] = (),
) -> AppearanceProfile:
    """Estimates the scale and stain that fields of one microscope share.

    Args:
        surveys: Of the fields, or of a sample of them.
        microns_per_pixel: Pixel size given by the user or by the scanner.
        tags: Resolution tags of the fields.

    Returns:
        The profile; its scale is unknown if there are not enough red cells.
    """
    scale = domain_scale([s.measurement for s in surveys], microns_per_pixel=microns_per_pixel, tags=tags)
    microns = scale.microns_per_pixel
    densities = chain.from_iterable(_nucleus_densities(survey, microns) for survey in surveys) if microns else ()
    return AppearanceProfile(scale, stain_strength(densities), len(surveys))


def measure_window(window: NDArray[np.uint8]) -> Measurement:
    """Measures a window; where there are no nuclei, dark red cells are not taken for them."""
    found = measure(window)
    if found.has_red_cell_ruler:
        return found
    factor = min(1.0, WORKING_SIDE / max(window.shape[:2]))
    density = optical_density(reduce_image(window, factor), found.white)
    if find_nuclei(density)[is_nucleus_coloured(*density.transpose(2, 0, 1))].any():
        return found
    red_cells = find_red_cells(density, np.zeros(density.shape[:2], bool))
    diameter = red_cells.median_diameter
    return replace(
        found,
        red_cell_px=None if diameter is None else diameter / factor,
        n_red_cells=len(red_cells),
        white_cell_px=None,
    )


def _nucleus_densities(survey: FieldSurvey, microns_per_pixel: float) -> Iterator[Rgb]:
    for window in survey.windows:
        tile = examine_tile(reduce_tile(window, microns_per_pixel), survey.measurement.white)
        yield from (candidate.density for candidate in tile.candidates)


def _white(windows: Sequence[NDArray[np.uint8]]) -> Rgb:
    red, green, blue = np.median([white_point(window) for window in windows], axis=0).tolist()
    return red, green, blue


def _sides(shape: tuple[int, int]) -> Iterator[int]:
    side = min(max(shape), _LARGEST_SIDE)
    yield side
    while side // 2 >= _SMALLEST_SIDE:
        side //= 2
        yield side


def _windows_by_size(field: Field) -> Iterator[list[NDArray[np.uint8]]]:
    """Yields the windows of each size, largest first; sizes of which damage spares none are left out.

    Raises:
        ImageError: If no window of any size can be read.
    """
    damage: ImageError | None = None
    n_sizes = 0
    for side in _sides(field.shape):
        try:
            windows = list(_windows(field, side))
        except ImageError as error:
            damage = error
            continue
        n_sizes += 1
        yield windows
    if not n_sizes and damage is not None:
        raise damage


def _windows(field: Field, side: int) -> Iterator[NDArray[np.uint8]]:
    height, width = (min(side, length) for length in field.shape)
    tops, lefts = field.shape[0] - height, field.shape[1] - width
    damage: ImageError | None = None
    n_read = 0
    for row, column in dict.fromkeys((round(down * tops), round(along * lefts)) for down, along in _PLACES):
        try:
            window = field.read(slice(row, row + height), slice(column, column + width))
        except ImageError as error:  # the other windows do
            damage = error
            continue
        n_read += 1
        yield window
    if not n_read and damage is not None:
        raise damage


def _fits(measurement: Measurement, side: int) -> bool:
    low, high = _RED_CELL_OF_WINDOW
    return measurement.red_cell_px is not None and low <= measurement.red_cell_px / side <= high


def glass_share(image: NDArray[np.uint8], white: Rgb, most: float = 0.12) -> float:
    """Returns the share of an image (H, W, 3) uint8 that is as bright as the glass.

    Example:
        >>> glass_share(np.full((8, 8, 3), 240, np.uint8), (240.0, 240.0, 240.0))
        1.0
    """
    step = max(1, max(image.shape[:2]) // _GLASS_SIDE)
    return float((optical_density(image[::step, ::step], white)[..., 1] < most).mean())
