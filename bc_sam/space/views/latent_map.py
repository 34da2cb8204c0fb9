"""The map of a model's reference cells, by class and by laboratory, with a visitor's cells among them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bc_sam.classifiers.ood import OodScore
from bc_sam.evaluation.projection import project

#: Number of reference cells drawn, stratified by class and laboratory.
_N_DRAWN = 1000

# Marker shapes around (0, 0), as SVG paths. With seven colours, each of 13 classes has its own colour and shape.
_SHAPES = (
    "m-.8 0a.8.8 0 1 0 1.6 0a.8.8 0 1 0-1.6 0z",
    "m-.7-.7h1.4v1.4h-1.4z",
    "m0-.95l.9 1.6h-1.8z",
    "m0-1l.85 1l-.85 1l-.85-1z",
    "m0 .95l.9-1.6h-1.8z",
    "m-.3-.95h.6v.65h.65v.6h-.65v.65h-.6v-.65h-.65v-.6h.65z",
)
COLOURS = 7


@dataclass(frozen=True)
class LatentMap:
    """A projection of the reference cells.

    Attributes:
        points: (n, 2) float, 0..100.
        method: The projection method.
        ood_score: Score of the drawn cells, in the same order, which finds the neighbours of a new cell.
    """

    points: np.ndarray
    method: str
    ood_score: OodScore

    def place(self, latent: np.ndarray) -> tuple[float, float]:
        """Returns the position of a new embedding (d,): the weighted mean of its nearest drawn cells."""
        nearest = self.ood_score.nearest(latent)
        weights = [1 / (cell.distance + 1e-6) for cell in nearest]
        x, y = np.average(self.points[[cell.row for cell in nearest]], axis=0, weights=weights)
        return float(x), float(y)


def draw_map(ood_score: OodScore) -> LatentMap:
    """Projects the reference cells so that similar cells lie close together."""
    reference = ood_score.reference
    strata = np.stack([reference.domains, reference.labels], axis=1)
    per_class = max(1, _N_DRAWN // len(np.unique(strata, axis=0)))
    rows = _sample_strata(strata, per_class)
    drawn = OodScore(reference.subset(rows)) if len(rows) > ood_score.neighbours else ood_score
    points, method = project(drawn.scaled)
    low, high = points.min(axis=0), points.max(axis=0)
    points = 3 + 94 * (points - low) / np.maximum(high - low, 1e-9)
    return LatentMap(points, method, drawn)


def _sample_strata(strata: np.ndarray, count: int) -> np.ndarray:
    _, stratum = np.unique(strata, axis=0, return_inverse=True)
    return np.sort(np.concatenate([np.flatnonzero(stratum == i)[:count] for i in range(stratum.max() + 1)]))


@dataclass(frozen=True)
class Group:
    """The cells of a class or laboratory, as one SVG path of one colour and shape."""

    name: str
    count: int
    colour: int
    path: str
    mark: str


def groups(points: np.ndarray, members: np.ndarray, names: Sequence[str]) -> Iterator[Group]:
    """Yields a group for each name that has points, the unknown ones (-1) first.

    Args:
        points: (n, 2).
        members: (n,) int, index of the name of each point; -1 if unknown.
        names: The names.
    """
    for index in range(-1, len(names)):
        own = points[members == index]
        if len(own):
            shape = _SHAPES[index % len(_SHAPES)]
            path = "".join(f"M{x:.1f} {y:.1f}{shape}" for x, y in own)
            name = names[index] if index >= 0 else "unknown"
            yield Group(name, len(own), index % COLOURS if index >= 0 else COLOURS, path, f"M0 0{shape}")
