"""Merges subtypes that the training or the test cells do not distinguish, so that laboratories can be compared."""

from collections.abc import Sequence

import numpy as np

from bc_sam.config.labels import COARSE_LABELS


def merged_labels(learned: np.ndarray, tested: np.ndarray, labels: Sequence[str]) -> dict[int, int]:
    """Returns which labels to merge into which others.

    A laboratory with a single subtype of neutrophils, or of lymphocytes, does not distinguish the subtypes, so either
    prediction is correct there. They are merged if this holds for the training cells or the test cells.

    Args:
        learned: Label indices of the training cells.
        tested: Label indices of the test cells.
        labels: Class names.

    Returns:
        The index that each merged label counts as, by its own index.

    Example:
        >>> names = ["monocyte", "neutrophil_banded", "neutrophil_segmented"]
        >>> merged_labels(np.array([0, 1, 2]), np.array([0, 2]), names)
        {1: 2}
    """
    merged: dict[int, int] = {}
    for subtypes in COARSE_LABELS.values():
        indices = [labels.index(subtype) for subtype in subtypes if subtype in labels]
        present = [[index for index in indices if index in side] for side in (tested, learned)]
        single = [subtypes_present[0] for subtypes_present in present if len(subtypes_present) == 1]
        if single:
            merged |= {index: single[0] for index in indices if index != single[0]}
    return merged


def merge_columns(probabilities: np.ndarray, merged: dict[int, int]) -> np.ndarray:
    """Adds the probability of each merged label to the label that it counts as.

    Args:
        probabilities: (n, n_labels).
        merged: The result of `merged_labels`.

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
    """Replaces each merged label index with the one that it counts as.

    Example:
        >>> merge_indices(np.array([0, 1, 2]), {0: 1}).tolist()
        [1, 1, 2]
    """
    return np.array([merged.get(int(index), int(index)) for index in indices], dtype=np.int64)
