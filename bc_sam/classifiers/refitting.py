"""Refits classifiers on the stored embeddings of a model together with cells of a new laboratory."""

from collections.abc import Callable, Sequence

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers
from bc_sam.classifiers.reference_latents import ReferenceLatents

#: Largest weight of a cell of the new laboratory in the fit of a classifier.
MAX_WEIGHT = 20


def refit(
    names: Sequence[str],
    stored: ReferenceLatents,
    embeddings: np.ndarray,
    labels: np.ndarray,
    n_labels: int,
    seed: int = 1234,
) -> dict[str, LatentClassifier]:
    """Fits classifiers on stored and new cells; within a class, the new ones weigh as much as the stored ones.

    Args:
        names: Keys of `bc_sam.classifiers.kinds.KINDS`.
        stored: The stored cells; those without a label are ignored.
        embeddings: (n, d), the new cells.
        labels: (n,) their label indices.
        n_labels: Number of labels of the model.
        seed: Seed of the classifiers.

    Raises:
        DataError: If there are fewer than two classes.

    Example:
        >>> stored = ReferenceLatents(np.array([[0.0], [0.2], [1.0]]), np.array([0, 0, 1]), np.zeros(3, np.int64))
        >>> refitted = refit(("logistic",), stored, np.array([[5.0], [5.1]]), np.array([2, 2]), n_labels=3)
        >>> refitted["logistic"].predict(np.array([[5.0]])).tolist()
        [2]
    """
    old = stored.subset(np.flatnonzero(stored.labels >= 0))
    rows = np.repeat(np.arange(len(labels)), class_weights(old.labels, labels))
    return fit_classifiers(
        names,
        np.concatenate([old.latents, embeddings[rows]]),
        np.concatenate([old.labels, labels[rows]]),
        n_labels,
        seed,
    )


def cross_validate(
    fit: Callable[[np.ndarray, np.ndarray], LatentClassifier],
    embeddings: np.ndarray,
    labels: np.ndarray,
    n_folds: int,
    seed: int = 1234,
) -> np.ndarray:
    """Returns probabilities (n, n_labels) float32 of each cell by a classifier that was fitted without its fold.

    The folds are stratified: the cells of a class are dealt out to them as evenly as possible.

    Args:
        fit: Fits a classifier, given embeddings (m, d) and label indices (m,).
        embeddings: (n, d).
        labels: (n,) label indices.
        n_folds: Number of folds, 2 to n.
        seed: Seed of the folds.
    """
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    held_out = [np.flatnonzero(folds == fold) for fold in range(n_folds)]
    parts = []
    for rows in held_out:
        others = np.setdiff1d(np.arange(len(labels)), rows)
        parts.append(fit(embeddings[others], labels[others]).predict_proba(embeddings[rows]))
    probabilities = np.empty((len(labels), parts[0].shape[1]), np.float32)
    probabilities[np.concatenate(held_out)] = np.concatenate(parts)
    return probabilities


def class_weights(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Returns the repetitions of each new cell that balance old and new cells within each class.

    Args:
        old: (m,) label index of each old cell.
        new: (n,) label index of each new cell.

    Returns:
        (n,) int64, 1 to `MAX_WEIGHT`.

    Example:
        >>> class_weights(np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 2])).tolist()
        [2, 2, 1, 1]
    """
    counts = np.array([((old == label).sum(), (new == label).sum()) for label in new])
    return np.clip(counts[:, 0] // counts[:, 1], 1, MAX_WEIGHT)
