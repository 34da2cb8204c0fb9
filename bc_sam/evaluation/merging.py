"""Labels that one side of a test does not tell apart count as one there, so that laboratories can be compared."""

from collections.abc import Sequence

import numpy as np

from bc_sam.config.labels import COARSE_LABELS


def merged_labels(learned: np.ndarray, tested: np.ndarray, labels: Sequence[str]) -> dict[int, int]:
    """Returns which labels count as another one.

    A laboratory with cells of a single kind of neutrophil, or of lymphocyte, does not tell the kinds apart: either
    answer is correct there. The kinds are merged if that is so of the training cells or of the test cells.

    Args:
        learned: Label indices of the training cells.
        tested: Label indices of the test cells.
        labels: Class names.

    Returns:
        The index that each merged label is counted as, by its own index.

    Example:
        >>> names = ["monocyte", "neutrophil_banded", "neutrophil_segmented"]
        >>> merged_labels(np.array([0, 1, 2]), np.array([0, 2]), names)
        {1: 2}
    """
    merged: dict[int, int] = {}
    for kinds in COARSE_LABELS.values():
        indices = [labels.index(kind) for kind in kinds if kind in labels]
        seen = [[index for index in indices if index in side] for side in (tested, learned)]
        single = [kinds_seen[0] for kinds_seen in seen if len(kinds_seen) == 1]
        if single:
            merged |= {index: single[0] for index in indices if index != single[0]}
    return merged


def merge_columns(probabilities: np.ndarray, merged: dict[int, int]) -> np.ndarray:
    """Adds the probability of each merged label to that of the label that it counts as.

    Args:
        probabilities: (n, n_labels).
        merged: As from `merged_labels`.

    Example:
        >>> merge_columns(np.array([[0.25, 0.25, 0.5]]), {0: 1}).tolist()
        [[0.0, 0.5, 0.5]]
    """
    sums = probabilities.copy()
    for label, counted_as in merged.items():
        sums[:, counted_as] += sums[:, label]
        sums[:, label] = 0
    return sums


def merge_indices(indices: np.ndarray, merged: dict[int, int]) -> np.ndarray:
    """Replaces each merged label index by the one that it counts as.

    Example:
        >>> merge_indices(np.array([0, 1, 2]), {0: 1}).tolist()
        [1, 1, 2]
    """
    return np.array([merged.get(int(index), int(index)) for index in indices], dtype=np.int64)
