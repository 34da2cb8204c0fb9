"""Out-of-distribution scores from the distance of a cell to the reference embeddings."""

from dataclasses import dataclass

import numpy as np

from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.errors import DataError

#: Number of nearest reference cells to average the distance over.
NEIGHBOURS = 5

# Rows whose distances to all reference cells are in memory at a time.
_ROWS = 256


@dataclass(frozen=True)
class Neighbour:
    """A nearest neighbour of a cell among the reference cells.

    Attributes:
        row: Row among the reference embeddings.
        label: Label index, -1 if unknown.
        domain: Domain index.
        distance: Standardized distance; see `OodScore`.
        thumbnail: JPEG of the cell; empty if the model has none.
    """

    row: int
    label: int
    domain: int
    distance: float
    thumbnail: bytes = b""


class OodScore:
    """Out-of-distribution score: the rank of a cell's distance to the reference cells among their own distances.

    Each dimension of the embedding is divided by its standard deviation over the reference cells, as in the
    classifiers. The distance of a cell is the mean distance to its nearest reference cells. Its score is the fraction
    of reference cells that are closer to the others than it is: 0.5 is typical, 1 is farther away than all of them.
    After Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022.

    Args:
        reference: The reference cells.
        neighbours: Number of nearest cells to average over.

    Attributes:
        scaled: (n, d), the reference embeddings divided by their standard deviations.

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
            raise DataError(
                f"{len(reference.latents)} reference cells are too few for an out-of-distribution score; "
                f"at least {neighbours + 1} are needed."
            )
        self.reference = reference
        self.neighbours = neighbours
        deviation = reference.latents.std(axis=0)
        self._deviation = np.where(deviation > 0, deviation, 1)
        self.scaled = reference.latents / self._deviation
        self._columns = self.scaled.T.astype(np.float64)
        self._squares = (self._columns**2).sum(axis=0)
        distances, _ = self._kneighbours(self.scaled, neighbours, exclude_self=True)
        self._reference_distances = np.sort(distances.mean(axis=1))

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """Returns the scores (n,) float64, 0..1, of embeddings (n, d)."""
        distances, _ = self._kneighbours(embeddings / self._deviation, self.neighbours)
        return np.searchsorted(self._reference_distances, distances.mean(axis=1)) / len(self._reference_distances)

    def nearest(self, embedding: np.ndarray, count: int = NEIGHBOURS) -> list[Neighbour]:
        """Returns the nearest reference cells of an embedding (d,), nearest first."""
        count = min(count, len(self.reference.latents))
        ((distances,), (rows,)) = self._kneighbours(embedding[None] / self._deviation, count)
        cells = self.reference
        return [
            Neighbour(
                int(row), int(cells.labels[row]), int(cells.domains[row]), float(distance), cells.thumbnail(int(row))
            )
            for row, distance in zip(rows, distances, strict=True)
        ]

    def _kneighbours(
        self, scaled: np.ndarray, count: int, *, exclude_self: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns distances and rows (n, count) of the nearest reference cells of standardized embeddings (n, d).

        It compares with every cell, as scikit-learn does in this many dimensions. That is a matrix product, for which
        importing scikit-learn would take five times as long as all else.

        Args:
            scaled: The embeddings.
            count: Number of neighbours, nearest first.
            exclude_self: Whether the embeddings are those of the reference cells, of which none is its own neighbour.
        """
        distances, nearest = np.empty((len(scaled), count)), np.empty((len(scaled), count), np.int64)
        for start in range(0, len(scaled), _ROWS):
            block = slice(start, start + _ROWS)
            rows = scaled[block].astype(np.float64)
            squares = rows @ self._columns  # in place from here on, as new memory would take longer than the product
            squares *= -2
            squares += self._squares
            squares += (rows**2).sum(axis=1)[:, None]
            if exclude_self:
                squares[np.arange(len(rows)), start + np.arange(len(rows))] = np.inf
            found = np.argpartition(squares, count - 1, axis=1)[:, :count]
            found = np.take_along_axis(found, np.take_along_axis(squares, found, axis=1).argsort(axis=1), axis=1)
            nearest[block] = found
            distances[block] = np.sqrt(np.maximum(np.take_along_axis(squares, found, axis=1), 0))
        return distances, nearest
