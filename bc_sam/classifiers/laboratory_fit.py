"""Whether a set of cells comes from a laboratory that a model knows, decided for the set as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bc_sam.classifiers.reference_latents import ReferenceLatents

#: Fewest cells from which a laboratory is judged. Of 12 cells of a known laboratory, one set in twelve looked foreign.
FEWEST_CELLS = 25

#: Number of cells that are enough: a longer set is judged by its first ones.
ENOUGH_CELLS = 500

# A laboratory is unknown if the mean shift of its cells is certainly larger than this, in standard deviations of the
# cells of one class. In draws of 50 cells it is 3.3 to 5.0 for two laboratories never seen, 1.5 to 2.7 for two
# rendered ones, and at most 1.9 for held-out cells of the laboratories of bc-sam-tiny; see docs/results.md.
_MOST_SHIFT = 1.25
_CERTAINTY = 0.99

# ... or if more than this share of its cells is odd: farther from the reference cells than 95 % of these are from one
# another. It is 0.24 to 0.78 in laboratories never seen, and at most 0.31 in known ones.
_ODD = 0.95
_MOST_ODD = 0.5

# Fewest reference cells of a class and laboratory whose mean is used.
_FEWEST_OF_CLASS = 5


@dataclass(frozen=True)
class LaboratoryFit:
    """How well a set of cells fits the laboratories that a model knows.

    Attributes:
        known: Whether it may come from one of them; ``None`` if that cannot be told.
        nearest: The laboratory with the smallest shift; ``None`` if there is none to compare with.
        shift: Mean shift from the cells of the nearest laboratory, in standard deviations of cells of one class; 0 if
            it does not exceed chance.
        odd_share: Share of cells that are farther from the reference cells than 95 % of these are from one another,
            0..1.
        n_cells: Number of cells that were judged.
    """

    known: bool | None
    nearest: str | None = None
    shift: float = 0.0
    odd_share: float = 0.0
    n_cells: int = 0


class LaboratoryCheck:
    """Compares sets of cells with the stored cells of each known laboratory.

    Each cell is compared with the mean of the most similar class of a laboratory, so that the kinds of cells in a set
    do not matter; what remains is shifted the same way for all cells if stain or camera differ. The mean shift of n
    cells is measured with the covariance of cells of one class, and must exceed what chance allows for n cells: its
    square times n follows a noncentral chi-squared distribution.

    Args:
        reference: The stored cells.
        domains: Names of the laboratories.

    Example:
        >>> random = np.random.default_rng(0)
        >>> stored = ReferenceLatents(random.normal(size=(60, 3)), np.zeros(60, np.int64), np.zeros(60, np.int64))
        >>> check = LaboratoryCheck(stored, ("ours",))
        >>> check.judge(random.normal(size=(40, 3))).known, check.judge(random.normal(size=(40, 3)) + 4).known
        (True, False)
    """

    def __init__(self, reference: ReferenceLatents, domains: tuple[str, ...]) -> None:
        self._deviation = np.where(reference.latents.std(axis=0) > 0, reference.latents.std(axis=0), 1)
        self._cells = dict(self._classes(reference, domains))

    @cached_property
    def _whitening(self) -> np.ndarray:
        """The transformation (d, d) after which cells of one class have unit covariance."""
        residuals = np.concatenate([cells - cells.mean(axis=0) for cells in self._cells.values()])
        covariance = _shrunk_covariance(residuals)
        return np.linalg.cholesky(np.linalg.inv(covariance + 1e-9 * np.eye(len(covariance))))

    @cached_property
    def _means(self) -> dict[str, np.ndarray]:
        """The whitened class means (k, d) of each laboratory."""
        return {
            name: np.stack([cells.mean(axis=0) for (domain, _), cells in self._cells.items() if domain == name])
            @ self._whitening
            for name in dict.fromkeys(domain for domain, _ in self._cells)
        }

    def _classes(
        self, reference: ReferenceLatents, domains: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, int], np.ndarray]]:
        """Yields laboratory, class and standardized embeddings of each class with enough cells."""
        for index, name in enumerate(domains):
            for label in np.unique(reference.labels):
                cells = reference.latents[(reference.domains == index) & (reference.labels == label)]
                if len(cells) >= _FEWEST_OF_CLASS:
                    yield (name, int(label)), cells / self._deviation

    def judge(self, embeddings: np.ndarray, ood: np.ndarray | None = None) -> LaboratoryFit:
        """Judges a set of cells of one laboratory, such as a slide.

        Args:
            embeddings: (n, d) of cells with a good image; those beyond the first `ENOUGH_CELLS` are ignored.
            ood: (n,) their out-of-distribution scores, if known.
        """
        embeddings = np.asarray(embeddings[:ENOUGH_CELLS], dtype=np.float64)
        n = len(embeddings)
        scores = None if ood is None else np.asarray(ood, dtype=np.float64)[:ENOUGH_CELLS]
        odd_share = float((scores > _ODD).mean()) if scores is not None and len(scores) else 0.0
        if n < FEWEST_CELLS or not self._cells or not np.isfinite(embeddings).all():
            return LaboratoryFit(None, odd_share=odd_share, n_cells=n)
        # `scipy.stats.ncx2.ppf` is this function, but its import takes 45 MB.
        from scipy.special import chndtrix

        whitened = embeddings / self._deviation @ self._whitening
        squares = {name: _squared_shift(whitened, means) for name, means in self._means.items()}
        nearest = min(squares, key=squares.__getitem__)
        dimensions = whitened.shape[1]
        most = chndtrix(_CERTAINTY, dimensions, n * _MOST_SHIFT**2) / n
        shift = float(np.sqrt(max(0.0, squares[nearest] - dimensions / n)))
        known = bool(squares[nearest] <= most and odd_share <= _MOST_ODD)
        return LaboratoryFit(known, nearest, shift, odd_share, n)


def _shrunk_covariance(rows: np.ndarray) -> np.ndarray:
    """Returns the covariance (d, d) of centred rows (n, d), shrunk towards a multiple of the identity.

    It equals `sklearn.covariance.ledoit_wolf`, for which an installation without torch would need scikit-learn, and
    whose import takes longer than judging a slide. After Ledoit and Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices", Journal of Multivariate Analysis 88, 2004.
    """
    n, d = rows.shape
    covariance = rows.T @ rows / n
    target = np.trace(covariance) / d * np.eye(d)
    distance = ((covariance - target) ** 2).sum()
    error = (((rows**2).T @ rows**2).sum() / n - (covariance**2).sum()) / n  # of the covariance, squared, expected
    shrinkage = min(error / distance, 1.0) if distance > 0 else 0.0
    return shrinkage * target + (1 - shrinkage) * covariance


def _squared_shift(cells: np.ndarray, means: np.ndarray) -> float:
    """Returns the squared length of the mean difference of cells (n, d) from their nearest class means (k, d)."""
    distances = ((cells[:, None] - means) ** 2).sum(axis=-1)
    return float(((cells - means[distances.argmin(axis=1)]).mean(axis=0) ** 2).sum())
