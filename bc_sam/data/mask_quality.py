"""Plausibility of a predicted mask, by size and shape."""

from dataclasses import dataclass

import numpy as np

#: Problems that mean that the mask contains no cell.
NO_CELL = ("no cell found", "the cell is too small")

_MIN_AREA = 0.02
_MIN_COMPACTNESS = 0.55


@dataclass(frozen=True)
class MaskLimits:
    """Which masks are plausible, by what the encoder sees of an image.

    Attributes:
        area: Largest share of the square that one cell covers.
        border: Largest share of the square's border that it covers.
        platelet: Share of the square below which it may be a platelet, which is not a class.
    """

    area: float
    border: float
    platelet: float


#: Limits for whole images. The 226 annotated masks of white cells in Matek-19 and Acevedo-20 cover 2 to 48 % of the
#: image and at most 15 % of its border; their compactness is at least 0.64, and at least 0.88 for 99 % of them. Of the
#: predicted masks of 72 platelets of Acevedo-20 61 %, and of its erythroblasts, the smallest cells, 2 % are below
#: `platelet`.
WHOLE_IMAGE = MaskLimits(area=0.7, border=0.25, platelet=0.032)

#: Limits for images at a common scale, 20 µm wide. The 204 annotated masks of Matek-19 and Acevedo-20 cover 8 to 93 %
#: of the square and at most 61 % of its border. Of the 72 platelets 61 %, and of 250 erythroblasts 1.2 % are below
#: `platelet`.
COMMON_SCALE = MaskLimits(area=0.95, border=0.65, platelet=0.11)


def mask_limits(*, normalized: bool) -> MaskLimits:
    """Returns the limits for a model that brings images to a common scale, or for one that sees whole images."""
    return COMMON_SCALE if normalized else WHOLE_IMAGE


def mask_problem(mask: np.ndarray, limits: MaskLimits = WHOLE_IMAGE) -> str | None:
    """Returns why a mask is unlikely to be that of one whole white cell.

    Args:
        mask: (S, S) bool, the largest component of a predicted mask.
        limits: What is plausible.

    Returns:
        Short description of the problem, or ``None`` if the mask is plausible.

    Example:
        >>> mask_problem(np.zeros((8, 8), dtype=bool))
        'no cell found'
    """
    empty, small = NO_CELL
    area = mask.mean()
    if area < _MIN_AREA:
        return empty if area == 0 else small
    if area > limits.area:
        return "the cell fills the image"
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    if border.mean() > limits.border:
        return "the cell is cut off by the edge"
    if _compactness(mask) < _MIN_COMPACTNESS:
        return "the outline is ragged"
    return None


def _compactness(mask: np.ndarray) -> float:
    """Returns the area of a mask over that of the ellipse with the same second moments; 1 for an ellipse."""
    rows, columns = np.nonzero(mask)
    covariance = np.cov(np.stack([rows, columns]).astype(float)) + np.eye(2) / 12
    return float(len(rows) / (4 * np.pi * np.sqrt(np.linalg.det(covariance))))
