"""How unlike a cell is to everything that a model learned from: its distance to the stored latents."""

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.errors import DataError

#: Neighbours whose mean distance tells how far away a latent lies.
NEIGHBOURS = 5


@dataclass(frozen=True)
class Neighbour:
    """A stored cell that is like the one asked about.

    Attributes:
        row: Its row among the stored latents.
        label: Index of its label, -1 where it is not known.
        domain: Index of its laboratory.
        distance: Standardised distance; see `NoveltyScale`.
        thumbnail: Small picture of it, a JPEG; empty where the model keeps none.
    """

    row: int
    label: int
    domain: int
    distance: float
    thumbnail: bytes = b""


class NoveltyScale:
    """Measures distances against those that the stored cells have to one another.

    Each number of the latent is divided by its standard deviation over the stored cells, as the classifiers do. A
    latent's distance is the mean of those to its nearest stored cells. Its novelty is the share of the stored cells
    that lie nearer to the others than it does: 0.5 is ordinary, 1 is farther away than every one of them. The idea
    is that of Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022.

    Args:
        reference: The stored cells.
        neighbours: Nearest cells to take.

    Attributes:
        scaled: (n, d), the stored latents over their standard deviations.

    Raises:
        DataError: If there are too few stored cells.

    Example:
        >>> latents = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
        >>> scale = NoveltyScale(ReferenceLatents(latents, np.zeros(50, np.int64), np.zeros(50, np.int64)))
        >>> float(scale.novelty(np.full((1, 3), 100.0))[0])
        1.0
    """

    def __init__(self, reference: ReferenceLatents, neighbours: int = NEIGHBOURS) -> None:
        if len(reference.latents) <= neighbours:
            raise DataError(f"{len(reference.latents)} stored cells are too few to tell what is new among them.")
        self.reference = reference
        self.neighbours = neighbours
        deviation = reference.latents.std(axis=0)
        self._deviation = np.where(deviation > 0, deviation, 1)
        self.scaled = reference.latents / self._deviation
        self._index = NearestNeighbors(n_neighbors=neighbours).fit(self.scaled)
        own, _ = self._index.kneighbors()  # without themselves
        self._own = np.sort(own.mean(axis=1))

    def novelty(self, latents: np.ndarray) -> np.ndarray:
        """Returns the novelty (n,), 0..1, of latents (n, d)."""
        distances, _ = self._index.kneighbors(latents / self._deviation)
        return np.searchsorted(self._own, distances.mean(axis=1)) / len(self._own)

    def nearest(self, latent: np.ndarray, count: int = NEIGHBOURS) -> list[Neighbour]:
        """Returns the stored cells most like a latent (d,), the nearest first."""
        count = min(count, len(self.reference.latents))
        ((distances,), (rows,)) = self._index.kneighbors(latent[None] / self._deviation, n_neighbors=count)
        known = self.reference
        return [
            Neighbour(
                int(row), int(known.labels[row]), int(known.domains[row]), float(distance), known.thumbnail(int(row))
            )
            for row, distance in zip(rows, distances, strict=True)
        ]
