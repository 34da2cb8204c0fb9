"""Which cells of a laboratory to label first."""

import numpy as np
from numpy.typing import NDArray

#: Number of labels that are asked for first; of so many the benefit was measured, see docs/fields.md.
FIRST_LABELS = 20

_SEED = 1234


def typical_cells(embeddings: NDArray[np.floating], number: int = FIRST_LABELS) -> list[int]:
    """Chooses cells whose labels tell most about the others: the typical one of each cluster of embeddings.

    Few labels of uncertain or novel cells are labels of odd cells; `benchmarks/active_labels.py` compares the choices.

    Args:
        embeddings: (n, d) float.
        number: How many to choose.

    Returns:
        Indices of at most so many cells, those of large clusters first.

    Example:
        >>> places = np.array([[0.0, 0], [0.1, 0], [0.2, 0], [9, 9]])
        >>> typical_cells(places, 2)
        [1, 3]
    """
    number = min(number, len(np.unique(embeddings, axis=0)))
    if not number:
        return []
    from sklearn.cluster import KMeans

    spread = embeddings.std(axis=0)
    places = (embeddings - embeddings.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    clusters = KMeans(number, n_init=5, random_state=_SEED).fit(places)
    nearest = np.linalg.norm(places[:, None] - clusters.cluster_centers_, axis=2).argmin(axis=0)
    largest_first = np.argsort(-np.bincount(clusters.labels_, minlength=number), kind="stable")
    return list(dict.fromkeys(nearest[largest_first].tolist()))
