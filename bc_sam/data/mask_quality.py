"""Masks that cannot be those of one whole white cell, told by their size and shape."""

import numpy as np

# Of 226 hand masks of white cells in Matek-19 and Acevedo-20, all fill 2 to 48 % of the image, touch at most 15 % of
# its border, and have a compactness of 0.64 or more, 99 % of them 0.88. The limits leave room around that.
_SMALLEST, _LARGEST = 0.02, 0.7
_MOST_BORDER = 0.25
_LEAST_COMPACT = 0.55


def doubt(mask: np.ndarray) -> str | None:
    """Says why a mask is probably wrong.

    Args:
        mask: (S, S) bool, the largest component of a predicted mask.

    Returns:
        A few words, or ``None`` if nothing speaks against it.

    Example:
        >>> doubt(np.zeros((8, 8), dtype=bool))
        'no cell found'
    """
    share = mask.mean()
    if share < _SMALLEST:
        return "no cell found" if share == 0 else "the cell is too small"
    if share > _LARGEST:
        return "the cell fills the image"
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    if border.mean() > _MOST_BORDER:
        return "the cell is cut off by the edge"
    if _compactness(mask) < _LEAST_COMPACT:
        return "the outline is ragged"
    return None


def _compactness(mask: np.ndarray) -> float:
    """Area of a mask as a share of the ellipse with the same moments: 1 for an ellipse, less if it is ragged."""
    rows, columns = np.nonzero(mask)
    covariance = np.cov(np.stack([rows, columns]).astype(float)) + np.eye(2) / 12
    return float(len(rows) / (4 * np.pi * np.sqrt(np.linalg.det(covariance))))
