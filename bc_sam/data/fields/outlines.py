"""The outline of a white cell, from the mask that a model predicts around its nucleus."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Farthest that cytoplasm reaches from the nucleus, and width of spikes that are cut off, µm.
_REACH = 5.0
_SPIKE = 1.2


def refine_outline(
    predicted: NDArray[np.bool_],
    nucleus: NDArray[np.bool_],
    others: NDArray[np.bool_],
    red_cells: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    microns_per_pixel: float,
) -> NDArray[np.bool_]:
    """Keeps what of a predicted mask belongs to a nucleus.

    Predicted masks spill over into neighbours now and then, above all beside the border of a field.

    Args:
        predicted: (S, S) bool, mask around the nucleus.
        nucleus: (S, S) bool, the nucleus.
        others: (S, S) bool, nuclei of other cells.
        red_cells: (S, S) bool, pixels of the hue of red cells.
        inside: (S, S) bool, where the window shows the field.
        microns_per_pixel: Pixel size of the masks, µm.

    Returns:
        (S, S) bool, one component with the nucleus, without holes.

    Example:
        >>> nucleus = np.zeros((60, 60), bool)
        >>> nucleus[25:35, 25:35] = True
        >>> everywhere = np.ones((60, 60), bool)
        >>> nothing = np.zeros((60, 60), bool)
        >>> outline = refine_outline(everywhere, nucleus, nothing, nothing, everywhere, 0.5)
        >>> bool(outline[30, 16]), bool(outline[30, 12])
        (True, False)
    """
    distance = ndimage.distance_transform_edt(~nucleus)
    near = distance * microns_per_pixel < _REACH
    if others.any():
        near &= distance < ndimage.distance_transform_edt(~others)
    # Beyond the border the mask goes on as at the border, so that opening leaves the edge that the border cuts.
    cell = ndimage.binary_fill_holes(continued((predicted & near & ~red_cells) | nucleus, inside))
    radius = _SPIKE / 2 / microns_per_pixel
    cell = ndimage.distance_transform_edt(cell) > radius
    cell = ndimage.distance_transform_edt(~cell) <= radius
    cell = ndimage.binary_fill_holes((cell | nucleus) & inside)
    components, count = ndimage.label(cell)
    if not count:
        return cell
    overlap = np.bincount(components[nucleus & inside], minlength=count + 1)
    overlap[0] = 0
    return np.asarray(components == overlap.argmax())


def continued(mask: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns a mask (S, S) bool in which pixels outside the field are as the nearest ones inside, (S, S) bool."""
    if inside.all() or not inside.any():
        return mask
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return np.asarray(mask[tuple(nearest)])
