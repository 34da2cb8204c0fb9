"""The cross-domain protocol: which cells a classifier learns from, which it is tested on, and how it did."""

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from bc_sam.evaluation.results import CONFIDENCE_BINS, DiceResult, PairResult


def score(
    probabilities: np.ndarray, true: np.ndarray, known: np.ndarray, labels: tuple[str, ...], **identity: Any
) -> PairResult:
    """Scores predictions.

    Args:
        probabilities: (n, n_labels), rows sum to 1; the prediction is the largest.
        true: (n,) label index.
        known: Label indices that the classifier has learned.
        labels: Class names.
        **identity: `classifier`, `source`, `target`, `fold` and `n_train` of the result.

    Example:
        >>> ids = dict(classifier="rf", source="a", target="b", fold=0, n_train=9)
        >>> score(np.array([[1, 0], [0.8, 0.2]]), np.array([0, 1]), np.array([0]), ("x", "y"), **ids).common_accuracy
        1.0
    """
    predicted = probabilities.argmax(axis=1)
    present = np.unique(true)
    common = np.isin(true, known)
    right = predicted == true
    return PairResult(
        **identity,
        n_test=len(true),
        accuracy=float(right.mean()),
        # Recall over the classes of the test cells only: a class that is predicted but absent is no class to recall.
        balanced_accuracy=float(np.mean([right[true == label].mean() for label in present])),
        macro_f1=float(f1_score(true, predicted, labels=present, average="macro", zero_division=0)),
        common_accuracy=float(right[common].mean()) if common.any() else 0.0,
        confusion=confusion_matrix(true, predicted, labels=range(len(labels))).tolist(),
        missing=[labels[label] for label in present if label not in known],
        reliability=reliability(probabilities, true),
    )


def reliability(probabilities: np.ndarray, true: np.ndarray) -> list[tuple[int, float, float]]:
    """Compares confidence, the largest probability of a cell, with accuracy.

    Args:
        probabilities: (n, n_labels), rows sum to 1.
        true: (n,) label index.

    Returns:
        For each tenth of 0..1 the number of cells whose confidence lies in it, their mean confidence and the share
        of them named right; zeros where there are none.

    Example:
        >>> reliability(np.array([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]]), np.array([0, 1, 0]))[5:8]
        [(1, 0.5, 1.0), (0, 0.0, 0.0), (2, 0.75, 0.5)]
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    part = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    cells = np.bincount(part, minlength=CONFIDENCE_BINS)
    means = [np.bincount(part, v, CONFIDENCE_BINS) / np.maximum(cells, 1) for v in (confidence, right)]
    return list(zip(cells.tolist(), *(mean.tolist() for mean in means), strict=True))


def dice(predicted: np.ndarray, hand: np.ndarray) -> np.ndarray:
    """Overlap of predicted and hand masks, 2·|A∩B| / (|A|+|B|).

    Args:
        predicted: (n, H, W) bool.
        hand: (n, H, W) bool.

    Returns:
        (n,) float, 0..1; 1 where both masks are empty.
    """
    overlap = (predicted & hand).sum(axis=(1, 2))
    total = predicted.sum(axis=(1, 2)) + hand.sum(axis=(1, 2))
    return np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))


def dice_by_domain(
    values: np.ndarray, domains: np.ndarray, domain_names: tuple[str, ...], fold: int
) -> list[DiceResult]:
    """Summarises the Dice of some cells, (n,) each, for each domain that has any."""
    results = []
    for domain in np.unique(domains):
        own = values[domains == domain]
        results.append(DiceResult(domain_names[domain], fold, float(own.mean()), float(own.std()), len(own)))
    return results
