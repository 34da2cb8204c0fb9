"""Candidates for white cells: groups of stained nuclei in a tile of a field."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from bc_sam.data.appearance.light import Floats, Rgb, optical_density
from bc_sam.data.appearance.magnification import RED_CELL_UM
from bc_sam.data.appearance.normalization import Window
from bc_sam.data.appearance.white_cell import LOBE_GAP, add_cytoplasm, find_nuclei, nucleus_density

#: Pixel size at which nuclei are sought, µm.
WORKING_UM = 0.3

#: Smallest area of the nucleus of a white cell, µm². In 91 fields of BCCD, nuclei of white cells have 34 or more, and
#: platelets, stain debris and inclusions of red cells 18 or less.
LEAST_NUCLEUS = 20.0

# Least optical density of nuclei and platelets in red light, and of red plus green minus blue light. Red cells,
# however dark, absorb little red and much blue.
_LEAST_RED = 0.1
_LEAST_STAIN = 0.3

# That of the nuclei of white cells. In BCCD they have 0.54 or more, and the bluish red cells that are taken for nuclei
# where there are none have 0.39 or less.
_LEAST_NUCLEUS_STAIN = 0.45

# A group of nuclei may be that of several cells if it has peaks of thickness at least this far apart, and this thick.
_PEAK_DISTANCE_UM = 5.5
_PEAK_RADIUS_UM = 1.5

# Farther than this from nuclei, µm, stained pixels are those of red cells. The hue is that of an optical density.
_AWAY_FROM_NUCLEI_UM = 4.0
_RED_CELL_STAIN = 0.1
_LEAST_RED_CELL_HUE = 0.3
_SHARE_OF_HUE = 0.8
_FEWEST_PIXELS = 50

# A place that a person points at is in a nucleus at most this far away, µm, of at least this area, µm²; otherwise a
# disc of this radius, µm, stands for the nucleus.
_POINTING_UM = 2.5
_LEAST_POINTED = 3.0
_DISC_UM = 2.0

# How far from its nucleus the surroundings of a cell are searched for cytoplasm, µm.
_SURROUNDINGS_UM = RED_CELL_UM


@dataclass(frozen=True)
class Candidate:
    """A group of nuclei that may be that of a white cell.

    Attributes:
        nucleus: (H, W) bool, the group, in pixels of the reduced tile.
        cell: (H, W) bool, nucleus and stained surroundings.
        parts: (H, W) bool each, nuclei of what may be different cells; empty if the group is that of one.
        density: Optical density of the nucleus in red, green and blue.
    """

    nucleus: NDArray[np.bool_]
    cell: NDArray[np.bool_]
    parts: tuple[NDArray[np.bool_], ...]
    density: Rgb

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the centroid of `cell`, pixels of the reduced tile."""
        return centroid(self.cell)


@dataclass(frozen=True)
class ReducedTile:
    """What a tile shows at `WORKING_UM`.

    Attributes:
        density: (H, W, 3) float32, optical density.
        nuclei: (H, W) bool, everything stained like a nucleus, platelets and debris included.
        red_cells: (H, W) bool, pixels of the hue of red cells; all false if there are none.
        candidates: Groups of nuclei that may be those of white cells.
    """

    density: Floats
    nuclei: NDArray[np.bool_]
    red_cells: NDArray[np.bool_]
    candidates: tuple[Candidate, ...]


def centroid(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Returns the row and column of a mask's centroid, where the centre of the first pixel is at 0.5."""
    row, column = ndimage.center_of_mass(mask)
    return float(row) + 0.5, float(column) + 0.5


def reduce_tile(tile: NDArray[np.uint8], microns_per_pixel: float) -> NDArray[np.uint8]:
    """Resamples a tile (H, W, 3) uint8 to `WORKING_UM`."""
    factor = microns_per_pixel / WORKING_UM
    height, width = (max(8, round(side * factor)) for side in tile.shape[:2])
    method = Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(tile).resize((width, height), method))


def examine_tile(reduced: NDArray[np.uint8], white: Rgb) -> ReducedTile:
    """Finds the groups of nuclei of a tile that are large and dark enough for a white cell.

    Args:
        reduced: (H, W, 3) uint8, RGB, at `WORKING_UM`.
        white: Colour of the glass.

    Returns:
        The candidates, of which platelets, small debris and dark red cells are none; and what else there is.

    Example:
        >>> row, column = np.ogrid[:100, :100]
        >>> image = np.full((100, 100, 3), 240, np.uint8)
        >>> image[np.hypot(row - 40, column - 50) < 20] = (190, 170, 215)  # cytoplasm
        >>> image[np.hypot(row - 40, column - 50) < 13] = (90, 50, 140)  # nucleus
        >>> image[np.hypot(row - 80, column - 80) < 4] = (90, 50, 140)  # platelet
        >>> (found,) = examine_tile(image, (240.0, 240.0, 240.0)).candidates
        >>> tuple(round(place) for place in found.centre)
        (40, 50)
    """
    density = optical_density(reduced, white)
    nuclei = ndimage.binary_opening(find_nuclei(density))
    groups, _ = ndimage.label(_distance(nuclei) < LOBE_GAP * RED_CELL_UM)
    candidates = []
    for index, window in enumerate(ndimage.find_objects(groups), start=1):
        nucleus = (groups[window] == index) & nuclei[window]
        if nucleus.sum() * WORKING_UM**2 >= LEAST_NUCLEUS and _is_stained(density[window][nucleus]):
            candidates.append(_candidate(density, nuclei, groups == index, window))
    return ReducedTile(density, nuclei, _red_cell_pixels(density, nuclei), tuple(candidates))


def seen_through(mask: NDArray[np.bool_], window: Window, factor: float) -> NDArray[np.bool_]:
    """Returns a mask of a reduced tile as a window of the tile shows it.

    Args:
        mask: (h, w) bool, of the reduced tile.
        window: The window, in pixels of the tile.
        factor: Pixels of the reduced tile per pixel of the tile.

    Returns:
        (size, size) bool.

    Example:
        >>> seen_through(np.eye(2, dtype=bool), Window(0, 0, 4, 4), 0.5).astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    """
    steps = (np.arange(window.size) + 0.5) * window.side / window.size
    rows, columns = (np.floor((start + steps) * factor).astype(int) for start in (window.top, window.left))
    inside = ((rows >= 0) & (rows < mask.shape[0]))[:, None] & ((columns >= 0) & (columns < mask.shape[1]))
    clipped = np.clip(rows, 0, mask.shape[0] - 1)[:, None], np.clip(columns, 0, mask.shape[1] - 1)
    return np.asarray(mask[clipped] & inside)


def candidate_at(tile: ReducedTile, place: tuple[float, float]) -> Candidate:
    """Returns the candidate at a place of a tile that a person points at, also if there is none by its stain.

    Args:
        tile: The tile.
        place: Row and column, pixels of the reduced tile.

    Returns:
        The candidate whose nucleus or cytoplasm is there; else one of the nearest stained pixels; else one of a small
        disc around the place.

    Example:
        >>> tile = examine_tile(np.full((60, 60, 3), 240, np.uint8), (240.0, 240.0, 240.0))
        >>> tuple(round(middle) for middle in candidate_at(tile, (20.0, 30.0)).centre)
        (20, 30)
    """
    row, column = (min(max(int(at), 0), side - 1) for at, side in zip(place, tile.nuclei.shape, strict=True))
    there = [candidate for candidate in tile.candidates if candidate.cell[row, column]]
    if there:
        return there[0]
    nucleus = _nucleus_at(tile, row, column)
    return Candidate(nucleus, nucleus, (), nucleus_density(tile.density, nucleus))


def _nucleus_at(tile: ReducedTile, row: int, column: int) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: tile.nuclei.shape[0], : tile.nuclei.shape[1]]
    away = np.hypot(rows - row, columns - column) * WORKING_UM
    components, _ = ndimage.label(tile.nuclei)
    stained = np.where(components > 0, away, np.inf)
    if stained.min() <= _POINTING_UM:
        nearest = components == components.flat[stained.argmin()]
        if nearest.sum() * WORKING_UM**2 >= _LEAST_POINTED:
            return np.asarray(nearest)
    return np.asarray(away <= _DISC_UM)


def is_nucleus_coloured(red: Floats, green: Floats, blue: Floats) -> NDArray[np.bool_]:
    """Whether optical densities are those of nuclei or platelets, and not of red cells or shadows.

    Args:
        red: Densities of red light, of any shape.
        green: Those of green light.
        blue: Those of blue light.

    Example:
        >>> is_nucleus_coloured(*np.array([[0.4, 0.08], [0.7, 0.31], [0.1, 0.36]], np.float32)).tolist()
        [True, False]
    """
    return np.asarray((red > _LEAST_RED) & (red + green - blue > _LEAST_STAIN) & (green > blue))


def _is_stained(nucleus: Floats) -> bool:
    red, green, blue = np.median(nucleus, axis=0)
    return bool(is_nucleus_coloured(red, green, blue)) and bool(red + green - blue > _LEAST_NUCLEUS_STAIN)


def _candidate(
    density: Floats, nuclei: NDArray[np.bool_], group: NDArray[np.bool_], window: tuple[slice, ...]
) -> Candidate:
    margin = round(_SURROUNDINGS_UM / WORKING_UM)
    around = tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, side))
        for part, side in zip(window, nuclei.shape, strict=True)
    )
    nucleus, cell = np.zeros_like(nuclei), np.zeros_like(nuclei)
    own = group[around] & nuclei[around]
    nucleus[around] = own
    cell[around] = add_cytoplasm(density[around], own, nuclei[around] & ~own, RED_CELL_UM / WORKING_UM)
    return Candidate(nucleus, cell, _parts(nucleus), nucleus_density(density, nucleus))


def _parts(nucleus: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
    """Divides a group among its peaks of thickness; returns nothing if it has one."""
    thickness = ndimage.distance_transform_edt(np.pad(nucleus, 1))[1:-1, 1:-1]
    thickness = ndimage.gaussian_filter(thickness * WORKING_UM, 1.0)
    reach = round(_PEAK_DISTANCE_UM / WORKING_UM)
    peaks = (thickness == ndimage.maximum_filter(thickness, 2 * reach + 1)) & (thickness > _PEAK_RADIUS_UM)
    seeds, count = ndimage.label(peaks)
    if count < 2:
        return ()
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    owner = np.where(nucleus, seeds[tuple(nearest)], 0)
    return tuple(owner == index for index in range(1, count + 1))


def _red_cell_pixels(density: Floats, nuclei: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the pixels whose hue is that of the stained pixels far from nuclei."""
    red, green, blue = ndimage.uniform_filter(density, (3, 3, 1)).transpose(2, 0, 1)
    hue = (blue - red) / (green + 0.05)
    stained = (green > _RED_CELL_STAIN) & ~nuclei
    far = stained & (_distance(nuclei) > _AWAY_FROM_NUCLEI_UM)
    typical = float(np.median(hue[far])) if far.sum() >= _FEWEST_PIXELS else 0.0
    if typical < _LEAST_RED_CELL_HUE:
        return np.zeros_like(nuclei)
    return np.asarray(stained & (hue > _SHARE_OF_HUE * typical))


def _distance(nuclei: NDArray[np.bool_]) -> Floats:
    """Distance of each pixel from the nearest nucleus, µm; infinite if there is none."""
    if not nuclei.any():
        return np.full(nuclei.shape, np.inf, np.float32)
    return np.asarray(ndimage.distance_transform_edt(~nuclei) * WORKING_UM, np.float32)
