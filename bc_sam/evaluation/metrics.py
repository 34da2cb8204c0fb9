"""Metrics of classification, calibration and segmentation."""

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from bc_sam.evaluation.merging import merge_columns, merge_indices
from bc_sam.evaluation.results import CONFIDENCE_BINS, DiceResult, PairResult


def score(
    probabilities: np.ndarray,
    true: np.ndarray,
    known: np.ndarray,
    labels: tuple[str, ...],
    *,
    merged: dict[int, int] | None = None,
    **identity: Any,
) -> PairResult:
    """Computes the metrics of predictions.

    Args:
        probabilities: (n, n_labels), rows sum to 1; the prediction is the most probable label.
        true: (n,) label index.
        known: Label indices that the classifier was trained on.
        labels: Class names.
        merged: Label indices to merge into others; see `bc_sam.evaluation.merging.merged_labels`.
        **identity: `classifier`, `source`, `target`, `fold` and `n_train` of the result.

    Example:
        >>> ids = dict(classifier="rf", source="a", target="b", fold=0, n_train=9)
        >>> score(np.array([[1, 0], [0.8, 0.2]]), np.array([0, 1]), np.array([0]), ("x", "y"), **ids).common_accuracy
        1.0
    """
    if merged:
        probabilities, true, known = (
            merge_columns(probabilities, merged),
            merge_indices(true, merged),
            merge_indices(known, merged),
        )
    predicted = probabilities.argmax(axis=1)
    present = np.unique(true)
    restricted = present[probabilities[:, present].argmax(axis=1)]
    common = np.isin(true, known)
    correct = predicted == true
    macro: dict[str, Any] = {"labels": present, "average": "macro", "zero_division": 0}
    return PairResult(
        **identity,
        n_test=len(true),
        accuracy=float(correct.mean()),
        # Same as `balanced_accuracy_score`, without its warning about predicted classes without test cells.
        balanced_accuracy=float(recall_score(true, predicted, **macro)),
        macro_f1=float(f1_score(true, predicted, **macro)),
        common_accuracy=float(correct[common].mean()) if common.any() else 0.0,
        confusion=confusion_matrix(true, predicted, labels=range(len(labels))).tolist(),
        missing=[labels[label] for label in present if label not in known],
        reliability=reliability(probabilities, true),
        restricted=float(recall_score(true, restricted, **macro)),
        merged={labels[label]: labels[counted_as] for label, counted_as in (merged or {}).items()},
    )


def reliability(probabilities: np.ndarray, true: np.ndarray) -> list[tuple[int, float, float]]:
    """Compares confidence, the largest probability of a cell, with accuracy in ten equal bins.

    scikit-learn's `calibration_curve` returns the same means, but omits empty bins and the number of cells per bin,
    which are needed to pool folds; and it assigns a confidence on the edge of two bins to the lower one.

    Args:
        probabilities: (n, n_labels), rows sum to 1.
        true: (n,) label index.

    Returns:
        The number of cells, mean confidence and accuracy of each bin; zeros for empty bins.

    Example:
        >>> reliability(np.array([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]]), np.array([0, 1, 0]))[5:8]
        [(1, 0.5, 1.0), (0, 0.0, 0.0), (2, 0.75, 0.5)]
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    bins = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    cells = np.bincount(bins, minlength=CONFIDENCE_BINS)
    means = [np.bincount(bins, values, CONFIDENCE_BINS) / np.maximum(cells, 1) for values in (confidence, correct)]
    return list(zip(cells.tolist(), *(mean.tolist() for mean in means), strict=True))


def dice(predicted: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Returns the Dice coefficient of predicted and annotated masks, 2·|A∩B| / (|A|+|B|).

    Args:
        predicted: (n, H, W) bool.
        annotated: (n, H, W) bool.

    Returns:
        (n,) float, 0..1; 1 if both masks are empty.
    """
    overlap = (predicted & annotated).sum(axis=(1, 2))
    total = predicted.sum(axis=(1, 2)) + annotated.sum(axis=(1, 2))
    return np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))


def dice_by_domain(
    values: np.ndarray, domains: np.ndarray, domain_names: tuple[str, ...], fold: int
) -> list[DiceResult]:
    """Returns the mean and standard deviation of Dice values (n,) for each domain in `domains` (n,)."""
    results = []
    for domain in np.unique(domains):
        dices = values[domains == domain]
        results.append(DiceResult(domain_names[domain], fold, float(dices.mean()), float(dices.std()), len(dices)))
    return results
