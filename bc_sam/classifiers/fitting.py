"""Fits classical classifiers on embeddings and gives them a common interface."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from bc_sam.errors import ConfigError, DataError


class LatentClassifier:
    """A classifier on embeddings whose probabilities always have one column per label of the model.

    Labels without training cells have probability 0. The wrapped classifier is fitted on consecutive integers, as
    XGBoost requires; `classes` maps them to labels.

    Args:
        estimator: A fitted scikit-learn classifier on embeddings (n, d), whose classes are 0..k-1.
        classes: Label index of each class, ascending, int64 (k,).
        n_labels: Number of labels of the model.
        file: Content of the file that it was loaded from, or its path; saving the model writes it back unchanged.

    Attributes:
        allowed_labels: The subset of `classes` that may be predicted, int64 (m,); all unless `restrict_labels` was
            called.
        label_weights: How much more often than among the training cells each label is expected, float32 (n_labels,);
            1 unless `weigh_labels` was called.
    """

    def __init__(self, estimator: Any, classes: np.ndarray, n_labels: int, file: bytes | Path | None = None) -> None:
        self.estimator = estimator
        self.classes = np.asarray(classes, dtype=np.int64)
        self.allowed_labels = self.classes
        self.label_weights = np.ones(n_labels, np.float32)
        self.n_labels = n_labels
        self.file = file

    @classmethod
    def fit(cls, name: str, latents: np.ndarray, labels: np.ndarray, n_labels: int, seed: int = 1234) -> Self:
        """Fits a classifier.

        The single cell of a class is duplicated, since calibration and early stopping hold out cells.

        Args:
            name: A key of `bc_sam.classifiers.kinds.KINDS`.
            latents: Embeddings (n, d), float.
            labels: (n,) integers in 0..n_labels-1.
            n_labels: Number of labels of the model.
            seed: Seed of the classifier.

        Raises:
            ConfigError: If the name is unknown.
            DataError: If there are fewer than two classes.
            BCSamError: If the classifier needs a package that is not installed.

        Example:
            >>> latents = np.array([[0.0], [0.1], [5.0], [5.1]])
            >>> classifier = LatentClassifier.fit("logistic", latents, np.array([2, 2, 7, 7]), n_labels=13)
            >>> classifier.predict(latents).tolist()
            [2, 2, 7, 7]
        """
        from bc_sam.classifiers.kinds import kind_of  # with scikit-learn, which applying a classifier may not need

        kind = kind_of(name)
        kind.require_installed()
        classes, encoded, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if len(classes) < 2:
            raise DataError(
                f"{name} needs labelled cells of at least two classes, but got {len(classes)}. Label more cells."
            )
        rows = np.repeat(np.arange(len(encoded)), np.where(counts[encoded] == 1, 2, 1))
        estimator = kind.build(seed, np.maximum(counts, 2))
        estimator.fit(np.asarray(latents, dtype=np.float32)[rows], encoded[rows])
        return cls(estimator, classes, n_labels)

    def restrict_labels(self, labels: Collection[int]) -> None:
        """Restricts predictions to the given labels and renormalizes their probabilities.

        Args:
            labels: Label indices. Labels that the classifier was not trained on are ignored.

        Raises:
            ConfigError: If it was trained on none of them.
        """
        allowed = np.intersect1d(self.classes, list(labels))
        if not len(allowed):
            raise ConfigError("The classifier was trained on none of the allowed labels. Allow a label that it knows.")
        self.allowed_labels = allowed

    def weigh_labels(self, weights: Sequence[float]) -> None:
        """Multiplies the probabilities of each label by a weight, and renormalizes them.

        By Bayes' rule, these are the probabilities where the labels are so much more frequent than among the training
        cells (Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001, theorem 2).

        Args:
            weights: A positive weight for each label.

        Example:
            >>> classifier = LatentClassifier.fit("logistic", np.array([[0.0], [5.0]]), np.array([0, 1]), n_labels=2)
            >>> before = classifier.predict_proba(np.array([[2.0]]))
            >>> classifier.weigh_labels([1, 3])
            >>> after = classifier.predict_proba(np.array([[2.0]]))
            >>> round(float(after[0, 1] / after[0, 0] / (before[0, 1] / before[0, 0])), 3)
            3.0
        """
        self.label_weights = np.asarray(weights, np.float32)

    def predict_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, n_labels), float32, for embeddings (n, d); rows sum to 1.

        Raises:
            DataError: If an embedding is not finite.
        """
        return self._restricted(self._weighed(self.learned_proba(latents)))

    def learned_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, n_labels), float32, ignoring weights and any restriction of the labels."""
        latents = np.asarray(latents, dtype=np.float32)
        require_finite(latents)  # some classifiers take NaN for a missing value, and would name the cell all the same
        values = self.estimator.predict_proba(latents) if len(latents) else np.empty((0, len(self.classes)))
        return self._of_labels(values)

    def _of_labels(self, values: np.ndarray) -> np.ndarray:
        probabilities = np.zeros((len(values), self.n_labels), dtype=np.float32)
        probabilities[:, self.classes] = values
        return probabilities

    def _weighed(self, probabilities: np.ndarray) -> np.ndarray:
        if (self.label_weights == 1).all():
            return probabilities
        weighed = probabilities * self.label_weights
        return weighed / weighed.sum(axis=1, keepdims=True)

    def _restricted(self, probabilities: np.ndarray) -> np.ndarray:
        if len(self.allowed_labels) == len(self.classes):
            return probabilities
        return restrict_probabilities(probabilities, self.allowed_labels)

    def predict(self, latents: np.ndarray) -> np.ndarray:
        """Returns the index of the most probable label (n,), int64, for embeddings (n, d)."""
        return self.predict_proba(latents).argmax(axis=1)


def restrict_probabilities(probabilities: np.ndarray, allowed_labels: np.ndarray) -> np.ndarray:
    """Conditions probabilities on the allowed labels.

    Args:
        probabilities: (..., n_labels); rows sum to 1.
        allowed_labels: Label indices (m,).

    Returns:
        (..., n_labels); rows sum to 1. If all allowed labels have probability 0, the result is uniform over them.

    Example:
        >>> restrict_probabilities(np.array([0.5, 0.375, 0.125]), np.array([1, 2])).tolist()
        [0.0, 0.75, 0.25]
    """
    restricted = np.zeros_like(probabilities)
    restricted[..., allowed_labels] = probabilities[..., allowed_labels] + np.finfo(np.float32).tiny
    return restricted / restricted.sum(axis=-1, keepdims=True)


def fit_classifiers(
    names: Sequence[str], latents: np.ndarray, labels: np.ndarray, n_labels: int, seed: int = 1234
) -> dict[str, LatentClassifier]:
    """Fits several classifiers on the same labelled embeddings; see `LatentClassifier.fit`."""
    return {name: LatentClassifier.fit(name, latents, labels, n_labels, seed) for name in names}


def restrict_classifiers(
    classifiers: Mapping[str, LatentClassifier], labels: Sequence[str], allowed_labels: Collection[str]
) -> None:
    """Restricts several classifiers to the allowed labels; see `LatentClassifier.restrict_labels`.

    Args:
        classifiers: Changed in place.
        labels: Label names, in the order of the probability columns.
        allowed_labels: A subset of `labels`; empty allows all.

    Raises:
        ConfigError: If a classifier was trained on none of them.
    """
    for classifier in classifiers.values():
        classifier.restrict_labels([labels.index(label) for label in allowed_labels or labels])


def weigh_classifiers(
    classifiers: Mapping[str, LatentClassifier], labels: Sequence[str], weights: Mapping[str, float]
) -> None:
    """Weighs the labels of several classifiers; see `LatentClassifier.weigh_labels`.

    Args:
        classifiers: Changed in place.
        labels: Label names, in the order of the probability columns.
        weights: Weights of some labels; those of all others are 1.
    """
    for classifier in classifiers.values():
        classifier.weigh_labels([weights.get(label, 1.0) for label in labels])


def require_finite(rows: np.ndarray) -> None:
    """Raises a DataError unless all embeddings, or probabilities of embeddings, (n, d), are finite."""
    if n_bad := int((~np.isfinite(rows).all(axis=1)).sum()):
        raise DataError(
            f"{n_bad} of {len(rows)} embeddings are not finite, so these cells get no name. Compute them in "
            'float32 (dtype="float32" or --dtype float32); if that does not help, the model is damaged.'
        )
