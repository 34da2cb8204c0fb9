"""Cross-domain cross-validation: trains on each source domain, tests on each target domain."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers, weigh_classifiers
from bc_sam.config.arguments import ClassifierArguments
from bc_sam.config.base import Protocol as EvaluationProtocol
from bc_sam.data.splits import assign_folds
from bc_sam.data.store import CellStore
from bc_sam.errors import DataError
from bc_sam.evaluation.merging import merged_labels
from bc_sam.evaluation.metrics import dice, score
from bc_sam.evaluation.results import ALL, OTHERS, PairResult
from bc_sam.networks.feature_store import ShardedArray
from bc_sam.training.synthetic_cells import SyntheticCells
from bc_sam.utils.memmap import StoredArray

_MASKS_PER_BLOCK = 256


class ViewLatents(NamedTuple):
    """Embeddings of augmented views of cells.

    Attributes:
        latents: (m, d) float32.
        rows: (m,) the cell of each view.
    """

    latents: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class LabelledLatents:
    """Embeddings of all cells, with their labels, domains and folds.

    Attributes:
        latents: (n, ...) input of the predictors: embeddings, float32 (n, d), or for networks the rows of the cells.
        labels: (n,) label index, -1 if unlabelled.
        domains: (n,) index into `domain_names`.
        folds: (n,) fold of each cell.
        domain_names: Names of the data sets.
        label_names: Names of the classes.
        fraction: Fraction of the labels to train on, at least one per class and domain.
        seed: Seed of their selection.
        synthetic: Additional synthetic training cells for the source of all domains, if any.
        views: Augmented views of the cells, if any, to train on instead of the cells.
    """

    latents: np.ndarray
    labels: np.ndarray
    domains: np.ndarray
    folds: np.ndarray
    domain_names: tuple[str, ...]
    label_names: tuple[str, ...]
    fraction: float = 1.0
    seed: int = 1234
    synthetic: SyntheticCells | None = None
    views: ViewLatents | None = None

    def sources(self, protocol: EvaluationProtocol) -> list[str]:
        """Lists the sources to train on: each domain with labels and, if there are several, all together.

        Under the protocol ``"leave-one-out"`` the only source is all domains except the held-out one.
        """
        labelled = [name for d, name in enumerate(self.domain_names) if (self.labels[self.domains == d] >= 0).any()]
        if protocol == "leave-one-out":
            return [OTHERS] if labelled else []
        return [*labelled, ALL] if len(labelled) > 1 else labelled

    def train_rows(self, source: str, fold: int) -> np.ndarray:
        """Returns the labelled cells of a source outside the test fold, or the selected fraction of them.

        Smaller fractions are subsets of larger ones, and those of single sources are subsets of that of all sources.
        """
        chosen = (self.labels >= 0) & (self.folds != fold)
        rows = np.flatnonzero(chosen if source in (ALL, OTHERS) else chosen & self._of(source))
        return rows if self.fraction == 1 else np.sort(np.concatenate([*self._fraction_of(rows)]))

    def training_set(self, source: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns latents and labels of given cells, or of their augmented views.

        For the source of all domains, those of the synthetic cells are added.
        """
        latents, labels = self.latents[rows], self.labels[rows]
        if self.views is not None:
            own = np.isin(self.views.rows, rows)
            latents, labels = self.views.latents[own], self.labels[self.views.rows[own]]
        if self.synthetic is None or source not in (OTHERS, self.sources("strict")[-1]):
            return latents, labels
        return np.concatenate([latents, self.synthetic.latents]), np.concatenate([labels, self.synthetic.labels])

    def _fraction_of(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the selected fraction of the cells of each class and domain."""
        strata = np.stack([self.domains[rows], self.labels[rows]], axis=1)
        for domain, label in np.unique(strata, axis=0):
            own = rows[(strata == (domain, label)).all(axis=1)]
            own = np.random.default_rng([self.seed, domain, label]).permutation(own)
            yield own[: math.ceil(self.fraction * len(own))]

    def test_rows(self, source: str, target: str, fold: int, protocol: EvaluationProtocol) -> np.ndarray:
        """Returns the labelled cells of a target in the test fold.

        Under the protocol ``"paper"`` the whole of any other domain is tested, although stages 1 and 2 were trained on
        its images.
        """
        rows = (self.labels >= 0) & self._of(target)
        if protocol != "paper" or source in (target, ALL):
            rows &= self.folds == fold
        return np.flatnonzero(rows)

    def _of(self, domain: str) -> np.ndarray:
        return self.domains == self.domain_names.index(domain)


class Predictor(Protocol):
    """A fitted classifier."""

    @property
    def classes(self) -> np.ndarray:
        """Label index of each of its classes, (k,) int64."""

    def predict_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, n_labels) for rows of `LabelledLatents.latents`."""


_Predictor = TypeVar("_Predictor", bound=Predictor)

#: Maps the name of a source and the rows of its training cells to fitted predictors by name.
FitFunction = Callable[[str, np.ndarray], Mapping[str, _Predictor]]


def assign_cell_folds(cells: CellStore, n_labels: int, rows: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """Splits cells into folds, stratified by domain and class, keeping slides and duplicates together.

    Args:
        cells: All cells.
        n_labels: Number of classes.
        rows: (n,) cells to split.
        parts: Number of folds.
        seed: Seed of the split.

    Returns:
        The fold of each cell in `rows`, (n,) int64.
    """
    table = cells.table
    strata = cells.domains * (n_labels + 1) + cells.labels
    groups = [
        None if group is None else f"{domain}/{group}"
        for domain, group in zip(table.domains, table.groups, strict=True)
    ]
    return assign_folds(
        strata[rows].tolist(),
        [groups[row] for row in rows],
        [table.fingerprints[row] for row in rows],
        parts,
        seed,
    )


def require_classes(cells: LabelledLatents, fold: int, protocol: EvaluationProtocol) -> None:
    """Checks before the hours of stages 1 and 2 that classifiers can be fitted on every source.

    Raises:
        DataError: If the training cells of a source have fewer than two classes.
    """
    for source in cells.sources(protocol):
        rows = cells.train_rows(source, fold)
        found = [cells.label_names[label] for label in np.unique(cells.labels[rows])]
        if len(found) < 2:
            raise DataError(
                f"{source} has {len(rows)} labelled training cells, {' and '.join(found) or 'none'} only, with fold "
                f"{fold} held out, but classifiers are also fitted on each data set alone and need two classes. Label "
                "more of its cells, pass them as part of another data set, or omit their labels."
            )


def evaluate_fold(
    cells: LabelledLatents, fold: int, protocol: EvaluationProtocol, arguments: ClassifierArguments, seed: int = 1234
) -> tuple[list[PairResult], dict[str, LatentClassifier]]:
    """Fits every classifier on every source and tests it on every target (BC-SAM, section 3.2).

    Args:
        cells: All cells.
        fold: The held-out fold.
        protocol: ``"strict"``, ``"paper"`` or ``"leave-one-out"``, where the folds are the domains.
        arguments: Settings of the classifiers.
        seed: Seed of the classifiers.

    Returns:
        The results, and the classifiers fitted on the last source: all domains together.

    Raises:
        DataError: If there are no labelled training cells.
    """

    def fit(source: str, rows: np.ndarray) -> Mapping[str, LatentClassifier]:
        fitted = fit_classifiers(arguments.names, *cells.training_set(source, rows), len(cells.label_names), seed)
        weigh_classifiers(fitted, cells.label_names, arguments.label_weights)
        return fitted

    pairs, classifiers = evaluate_sources(cells, fold, protocol, fit)
    return pairs, dict(classifiers)


def evaluate_sources(
    cells: LabelledLatents, fold: int, protocol: EvaluationProtocol, fit: FitFunction[_Predictor]
) -> tuple[list[PairResult], Mapping[str, _Predictor]]:
    """Fits predictors on every source in turn and tests them on every target.

    Args:
        cells: All cells.
        fold: The held-out fold.
        protocol: ``"strict"``, ``"paper"`` or ``"leave-one-out"``, where the folds are the domains.
        fit: Fits predictors; called once per source, last for all domains together.

    Returns:
        The results, and the predictors fitted on the last source: all domains together.

    Raises:
        DataError: If there are no labelled training cells.
    """
    if not cells.sources(protocol):
        raise DataError("No image has a label, so no classifier can be trained. Label some cells.")
    pairs: list[PairResult] = []
    predictors: Mapping[str, _Predictor] = {}
    for source in cells.sources(protocol):
        rows = cells.train_rows(source, fold)
        predictors = fit(source, rows)
        pairs += _test_on_targets(cells, fold, protocol, source, rows, predictors)
    return pairs, predictors


def _test_on_targets(
    cells: LabelledLatents,
    fold: int,
    protocol: EvaluationProtocol,
    source: str,
    train: np.ndarray,
    predictors: Mapping[str, Predictor],
) -> Iterator[PairResult]:
    for target in cells.domain_names:
        test = cells.test_rows(source, target, fold, protocol)
        if not len(test):
            continue
        merged = None
        if protocol == "leave-one-out":
            merged = merged_labels(cells.labels[train], cells.labels[test], cells.label_names)
        for name, predictor in predictors.items():
            identity = {"classifier": name, "source": source, "target": target, "fold": fold}
            yield score(
                predictor.predict_proba(cells.latents[test]),
                cells.labels[test],
                predictor.classes,
                cells.label_names,
                merged=merged,
                n_train=len(train),
                **identity,
            )


def dice_of_rows(
    predicted: np.ndarray | ShardedArray, annotated: np.ndarray | StoredArray, rows: np.ndarray
) -> np.ndarray:
    """Returns the Dice (m,) for rows (m,) of masks on disk, (n, H, W) each, in constant memory; see `dice`."""
    blocks = [rows[start : start + _MASKS_PER_BLOCK] for start in range(0, len(rows), _MASKS_PER_BLOCK)]
    return np.concatenate([np.empty(0), *(dice(predicted[block] > 0, annotated[block] > 0) for block in blocks)])
