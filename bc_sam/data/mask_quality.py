"""Tells masks that cannot be those of one whole white cell, by their size and shape."""

import numpy as np

#: What `mask_problem` returns for a mask that shows no cell at all.
NO_CELL = ("no cell found", "the cell is too small")

# The 226 annotated masks of white cells in Matek-19 and Acevedo-20 cover 2 to 48 % of the image and at most 15 % of
# its border; their compactness is 0.64 or more, for 99 % of them 0.88 or more. The limits leave a margin around that.
_SMALLEST, _LARGEST = 0.02, 0.7
_MOST_BORDER = 0.25
_LEAST_COMPACT = 0.55


def mask_problem(mask: np.ndarray) -> str | None:
    """Returns why a mask is probably wrong.

    Args:
        mask: (S, S) bool, the largest component of a predicted mask.

    Returns:
        A few words, or ``None`` if the mask may be that of a cell.

    Example:
        >>> mask_problem(np.zeros((8, 8), dtype=bool))
        'no cell found'
    """
    empty, small = NO_CELL
    share = mask.mean()
    if share < _SMALLEST:
        return empty if share == 0 else small
    if share > _LARGEST:
        return "the cell fills the image"
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    if border.mean() > _MOST_BORDER:
        return "the cell is cut off by the edge"
    if _compactness(mask) < _LEAST_COMPACT:
        return "the outline is ragged"
    return None


def _compactness(mask: np.ndarray) -> float:
    """Area of a mask over that of the ellipse with the same second moments: 1 for an ellipse, less if it is ragged."""
    rows, columns = np.nonzero(mask)
    covariance = np.cov(np.stack([rows, columns]).astype(float)) + np.eye(2) / 12
    return float(len(rows) / (4 * np.pi * np.sqrt(np.linalg.det(covariance))))
