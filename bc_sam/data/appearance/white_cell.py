"""Segments nuclei by their stain, and the white cell around the most central nucleus."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bc_sam.data.appearance.light import Floats, Rgb

# Distances below are shares of a red cell's diameter; without red cells, 1.1 times the equivalent diameter of the
# largest nucleus is used instead.
LOBE_GAP = 0.17
_CYTOPLASM_REACH = 0.5
_OPENING = 0.12
_RED_CELL_PER_NUCLEUS = 1.1

# A Gaussian with a standard deviation of one pixel ends here, pixels.
_SMOOTHING_REACH = 4

# Minimum density of cytoplasm, relative to its nucleus and absolute.
_CYTOPLASM_DENSITY = 0.1
_LEAST_CYTOPLASM = 0.035

# Smallest nucleus in pixels and as a share of the image, and largest white cell as a share of the image.
_FEWEST_PIXELS = 12
_LEAST_NUCLEUS = 0.002
_MOST_CELL = 0.9

# Stained pixels include red cells as well as nuclei if more than the first share of them is pale, with a mean density
# below the second share of that of the others. In 95 % of 30 images each of Acevedo-20, Matek-19 and JTSC the pale
# share is below 0.46; in images of the rendered laboratory "tehran", whose red cells are dark, it is 0.71 to 0.88, and
# they are 0.44 to 0.59 as dense.
_MOST_PALE = 0.6
_MUCH_PALER = 0.6

# Distance from the image centre over which the weight of nuclei decays, as a share of the longer side.
_CENTRAL = 0.2


@dataclass(frozen=True)
class WhiteCell:
    """The main white cell of an image.

    Attributes:
        mask: (H, W) bool, nucleus and cytoplasm.
        nucleus: (H, W) bool, all lobes.
        n_cells: Number of white cells in the image whose nucleus is at least half as large as the largest.
    """

    mask: NDArray[np.bool_]
    nucleus: NDArray[np.bool_]
    n_cells: int

    @property
    def diameter(self) -> float:
        """Equivalent diameter of the cell, pixels."""
        return float(2 * np.sqrt(self.mask.sum() / np.pi))

    @property
    def nucleus_diameter(self) -> float:
        """Equivalent diameter of the nucleus, pixels."""
        return float(2 * np.sqrt(self.nucleus.sum() / np.pi))

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the cell's centroid, pixels."""
        row, column = ndimage.center_of_mass(self.mask)
        return float(row), float(column)


def find_nuclei(density: Floats) -> NDArray[np.bool_]:
    """Segments nuclei, which absorb more red light than red cells do, and more green than blue.

    If red cells are so dark and numerous that the threshold separates them from the glass rather than nuclei from
    everything else, a second threshold is applied to the pixels above the first.

    Args:
        density: (H, W, 3) float32, optical density.

    Returns:
        (H, W) bool.

    Example:
        >>> density = np.zeros((40, 40, 3), np.float32)
        >>> density[10:20, 10:20] = 0.9, 1.4, 0.4  # nucleus
        >>> density[25:35, 25:35] = 0.05, 0.3, 0.2  # red cell
        >>> nuclei = find_nuclei(density)
        >>> bool(nuclei[15, 15]), bool(nuclei[30, 30])
        (True, False)
    """
    red, green, blue = np.clip(density, 0, 1.5).transpose(2, 0, 1)
    stain = ndimage.gaussian_filter(red + green - blue, 1.0)
    top = max(float(np.percentile(stain, 99.5)), 0.3)
    threshold = max(otsu_threshold(stain, 0.0, top), 0.3 * top, 0.12)
    return np.asarray(stain > _above_red_cells(stain, threshold, top))


def find_white_cell(density: Floats, nuclei: NDArray[np.bool_], red_cell: float | None) -> WhiteCell | None:
    """Segments the white cell with the largest and most central nucleus.

    Ratio of its diameter to that of the annotated mask, median and 5 to 95 %: JTSC 1.01 (0.94 to 1.08), Acevedo-20
    1.02 (0.93 to 1.28), Matek-19 0.99 (0.68 to 1.23). Pale cytoplasm of neutrophils is partly missed.

    Args:
        density: (H, W, 3) float32, optical density.
        nuclei: (H, W) bool, as from `find_nuclei`.
        red_cell: Diameter of the red cells, pixels, or ``None`` if there are none.

    Returns:
        The cell; ``None`` if there is no nucleus, or the cell would fill more than 90 % of the image.

    Example:
        >>> row, column = np.ogrid[:120, :120]
        >>> distance = np.hypot(row - 60, column - 60)[..., None]
        >>> density = np.where(distance < 15, [0.9, 1.4, 0.4], np.where(distance < 25, 0.3, 0.0)).astype(np.float32)
        >>> cell = find_white_cell(density, find_nuclei(density), None)
        >>> round(cell.diameter / 50, 1), cell.n_cells
        (1.0, 1)
    """
    nuclei = opened(nuclei)
    if nuclei.sum() < _FEWEST_PIXELS:
        return None
    unit = red_cell or _RED_CELL_PER_NUCLEUS * _largest_diameter(nuclei)
    # Lobes of one nucleus are closer together than nuclei of two cells.
    groups, _ = ndimage.label(closer_than(max(LOBE_GAP * unit, 1.0), nuclei))
    areas = np.bincount(groups[nuclei])[1:]
    chosen = _most_central(nuclei, groups, areas)
    if areas[chosen] < _LEAST_NUCLEUS * nuclei.size:
        return None
    nucleus = (groups == chosen + 1) & nuclei
    mask = add_cytoplasm(density, nucleus, nuclei & ~nucleus, unit)
    if mask.mean() > _MOST_CELL:
        return None
    return WhiteCell(mask, nucleus, int((areas >= 0.5 * areas.max()).sum()))


def nucleus_density(density: Floats, nucleus: NDArray[np.bool_]) -> Rgb:
    """Returns the median optical density of the darker half of a nucleus.

    Args:
        density: (H, W, 3) float32, optical density.
        nucleus: (H, W) bool, not empty.

    Example:
        >>> nucleus_density(np.ones((4, 4, 3), np.float32), np.ones((4, 4), bool))
        (1.0, 1.0, 1.0)
    """
    channels = density.transpose(2, 0, 1)[:, nucleus]
    dark = channels[:, channels[0] >= np.median(channels[0])]
    red, green, blue = np.median(dark, axis=1).tolist()
    return red, green, blue


def _above_red_cells(stain: Floats, threshold: float, top: float) -> float:
    """Raises the threshold if most of the pixels above it are much paler than the others."""
    stained = stain[stain > threshold]
    higher = otsu_threshold(stained, threshold, top) if threshold < top else top
    pale, dark = stained[stained <= higher], stained[stained > higher]
    if not len(pale) or not len(dark):
        return threshold
    mixed = len(pale) > _MOST_PALE * len(stained) and pale.mean() < _MUCH_PALER * dark.mean()
    return higher if mixed else threshold


def _largest_diameter(mask: NDArray[np.bool_]) -> float:
    """Equivalent diameter of the largest component of a mask, pixels."""
    components, _ = ndimage.label(mask)
    return float(np.sqrt(4 * np.bincount(components.ravel())[1:].max() / np.pi))


def _most_central(nuclei: NDArray[np.bool_], groups: NDArray[np.int32], areas: NDArray[np.integer]) -> int:
    """Returns the index of the nucleus with the largest area, weighted by its distance from the image centre."""
    height, width = nuclei.shape
    places = np.nonzero(nuclei)
    rows, columns = (np.bincount(groups[places], weights=axis)[1:] / areas for axis in places)
    distances = np.hypot(rows - (height / 2 - 0.5), columns - (width / 2 - 0.5)) / max(height, width)
    return int(np.argmax(areas * np.exp(-((distances / _CENTRAL) ** 2))))


def closer_than(distance: float, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the pixels (H, W) bool that are closer than a distance to one of a mask, those of the mask included.

    Example:
        >>> closer_than(2, np.array([[True, False, False, False]])).tolist()
        [[True, True, False, False]]
    """
    near = np.zeros_like(mask)
    around = _surroundings(mask, distance)
    near[around] = ndimage.distance_transform_edt(~mask[around]) < distance
    return near


def add_cytoplasm(
    density: Floats, nucleus: NDArray[np.bool_], others: NDArray[np.bool_], unit: float
) -> NDArray[np.bool_]:
    """Returns the nucleus plus the stained area around it that is closer to it than to other nuclei."""
    reach = _CYTOPLASM_REACH * unit
    near = _nearest(nucleus, others, reach)
    around = _surroundings(nucleus, reach + _SMOOTHING_REACH)
    stain = ndimage.gaussian_filter(density[around].mean(axis=2), 1.0)
    own = nucleus[around]
    stained = stain > max(_CYTOPLASM_DENSITY * float(np.median(stain[own])), _LEAST_CYTOPLASM)
    opened = ndimage.binary_opening((stained & near[around]) | own, iterations=max(1, round(_OPENING * unit)))
    components, count = ndimage.label(_without_holes(opened | own))
    is_cell = np.zeros(count + 1, bool)
    is_cell[components[own]] = True
    cell = np.zeros_like(nucleus)
    cell[around] = is_cell[components]
    return cell


def _nearest(nucleus: NDArray[np.bool_], others: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """Returns the pixels that a nucleus reaches and that are closer to it than to other nuclei."""
    around = _surroundings(nucleus, 2 * reach)  # with all other nuclei that matter
    if not others[around].any():
        return closer_than(reach, nucleus)
    distance = ndimage.distance_transform_edt(~nucleus[around])
    near = np.zeros_like(nucleus)
    near[around] = (distance < reach) & (distance < ndimage.distance_transform_edt(~others[around]))
    return near


def opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns a mask (H, W) bool without what is narrower than a cross of 3 x 3 pixels.

    As `ndimage.binary_opening`, which takes several times as long.
    """
    return _crossed(_crossed(mask, np.logical_and), np.logical_or)


def _crossed(mask: NDArray[np.bool_], combine: np.ufunc) -> NDArray[np.bool_]:
    """Combines each pixel with its four neighbours; those beyond the border are false."""
    padded = np.pad(mask, 1)
    rows = combine(combine(padded[:-2, 1:-1], padded[2:, 1:-1]), mask)
    return np.asarray(combine(combine(padded[1:-1, :-2], padded[1:-1, 2:]), rows))


def _without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns a mask with its holes filled, as `ndimage.binary_fill_holes` does in several times the time."""
    background, count = ndimage.label(~mask)
    is_hole = np.ones(count + 1, bool)
    for edge in (background[0], background[-1], background[:, 0], background[:, -1]):
        is_hole[edge] = False
    return mask | is_hole[background]


def _surroundings(mask: NDArray[np.bool_], margin: float) -> tuple[slice, slice]:
    """Returns the part of an image that holds a mask, which is not empty, with a margin and one pixel more."""
    more = math.ceil(margin) + 1
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(max(rows[0] - more, 0), rows[-1] + more + 1), slice(max(columns[0] - more, 0), columns[-1] + more + 1)


def otsu_threshold(values: Floats, low: float, high: float) -> float:
    """Returns Otsu's threshold for values clipped to (low, high)."""
    counts, edges = np.histogram(np.clip(values, low, high), bins=64, range=(low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    total = np.cumsum(counts * centres)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = total / below - (total[-1] - total) / above
    spread = np.nan_to_num(below * above * gap**2)
    best = np.flatnonzero(spread >= 0.999 * spread.max())
    return float(centres[best].mean())
