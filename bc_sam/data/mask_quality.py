"""Plausibility of a predicted mask, by size and shape."""

import numpy as np

#: Problems that mean that the mask contains no cell.
NO_CELL = ("no cell found", "the cell is too small")

# The 226 annotated masks of white cells in Matek-19 and Acevedo-20 cover 2 to 48 % of the image and at most 15 % of
# its border; their compactness is at least 0.64, and at least 0.88 for 99 % of them. The thresholds leave a margin.
_MIN_AREA, _MAX_AREA = 0.02, 0.7
_MAX_BORDER = 0.25
_MIN_COMPACTNESS = 0.55


def mask_problem(mask: np.ndarray) -> str | None:
    """Returns why a mask is unlikely to be that of one whole white cell.

    Args:
        mask: (S, S) bool, the largest component of a predicted mask.

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
    if area > _MAX_AREA:
        return "the cell fills the image"
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    if border.mean() > _MAX_BORDER:
        return "the cell is cut off by the edge"
    if _compactness(mask) < _MIN_COMPACTNESS:
        return "the outline is ragged"
    return None


def _compactness(mask: np.ndarray) -> float:
    """Returns the area of a mask over that of the ellipse with the same second moments; 1 for an ellipse."""
    rows, columns = np.nonzero(mask)
    covariance = np.cov(np.stack([rows, columns]).astype(float)) + np.eye(2) / 12
    return float(len(rows) / (4 * np.pi * np.sqrt(np.linalg.det(covariance))))
