"""How far a cell lies from everything that a model has seen: its distance to the reference embeddings."""

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.errors import DataError

#: Nearest reference cells whose mean distance is the distance of a cell.
NEIGHBOURS = 5


@dataclass(frozen=True)
class Neighbour:
    """A reference cell near the cell in question.

    Attributes:
        row: Its row among the reference embeddings.
        label: Index of its label, -1 if unknown.
        domain: Index of its laboratory.
        distance: Standardised distance; see `OodScore`.
        thumbnail: JPEG of it; empty if the model keeps none.
    """

    row: int
    label: int
    domain: int
    distance: float
    thumbnail: bytes = b""


class OodScore:
    """Out-of-distribution score: how a cell's distance to the reference cells ranks among their own distances.

    Each dimension of the embedding is divided by its standard deviation over the reference cells, as the classifiers
    do. The distance of a cell is the mean of those to its nearest reference cells. Its score is the share of the
    reference cells that lie nearer to the others than it does: 0.5 is ordinary, 1 is farther away than every one of
    them. After Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022.

    Args:
        reference: The reference cells.
        neighbours: Number of nearest cells to average over.

    Attributes:
        scaled: (n, d), the reference embeddings over their standard deviations.

    Raises:
        DataError: If there are too few reference cells.

    Example:
        >>> embeddings = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
        >>> ood = OodScore(ReferenceLatents(embeddings, np.zeros(50, np.int64), np.zeros(50, np.int64)))
        >>> float(ood.score(np.full((1, 3), 100.0))[0])
        1.0
    """

    def __init__(self, reference: ReferenceLatents, neighbours: int = NEIGHBOURS) -> None:
        if len(reference.latents) <= neighbours:
            raise DataError(f"{len(reference.latents)} reference cells are too few for an out-of-distribution score.")
        self.reference = reference
        self.neighbours = neighbours
        deviation = reference.latents.std(axis=0)
        self._deviation = np.where(deviation > 0, deviation, 1)
        self.scaled = reference.latents / self._deviation
        self._index = NearestNeighbors(n_neighbors=neighbours).fit(self.scaled)
        own, _ = self._index.kneighbors()  # without themselves
        self._own = np.sort(own.mean(axis=1))

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """Returns the scores (n,) float64, 0..1, of embeddings (n, d)."""
        distances, _ = self._index.kneighbors(embeddings / self._deviation)
        return np.searchsorted(self._own, distances.mean(axis=1)) / len(self._own)

    def nearest(self, embedding: np.ndarray, count: int = NEIGHBOURS) -> list[Neighbour]:
        """Returns the reference cells nearest to an embedding (d,), the nearest first."""
        count = min(count, len(self.reference.latents))
        ((distances,), (rows,)) = self._index.kneighbors(embedding[None] / self._deviation, n_neighbors=count)
        known = self.reference
        return [
            Neighbour(
                int(row), int(known.labels[row]), int(known.domains[row]), float(distance), known.thumbnail(int(row))
            )
            for row, distance in zip(rows, distances, strict=True)
        ]
