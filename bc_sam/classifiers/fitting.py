"""Stage 3: the classical classifiers that name a cell from its latent, behind one interface."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bc_sam.errors import BCSamError, ConfigError, DataError


def _forest(seed: int, counts: np.ndarray) -> ClassifierMixin:
    return RandomForestClassifier(n_estimators=200, max_depth=16, n_jobs=-1, random_state=seed)


def _svm(kernel: str, seed: int, counts: np.ndarray) -> ClassifierMixin:
    # Platt's scaling needs each class in each of its folds; `ensemble=False` keeps one SVM, not one a fold.
    folds = min(5, int(counts.min()))
    svm = CalibratedClassifierCV(SVC(kernel=kernel, random_state=seed), cv=folds, ensemble=False)
    return make_pipeline(StandardScaler(), svm)


def _ann(seed: int, counts: np.ndarray) -> ClassifierMixin:
    # Early stopping holds out a stratified tenth, which must have room for every class.
    early_stopping = counts.sum() >= 10 * len(counts)
    network = MLPClassifier(max_iter=1000, early_stopping=bool(early_stopping), random_state=seed)
    return make_pipeline(StandardScaler(), network)


def _logistic(seed: int, counts: np.ndarray) -> ClassifierMixin:
    # A tenth of the library's C is as good on cells of known laboratories, and better from one laboratory to another:
    # bc-sam-tiny names 52 instead of 43 % from Acevedo-20 to Matek-19, and 71 instead of 69 back.
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, random_state=seed))


def _xgboost(seed: int, counts: np.ndarray) -> ClassifierMixin:
    try:
        from xgboost import XGBClassifier
    except ImportError as error:
        raise BCSamError("The classifier 'xgboost' needs XGBoost: pip install 'bc_sam[xgboost]'.") from error
    return XGBClassifier(random_state=seed)


#: How to build each classifier, from a seed and the number of cells of each class (BC-SAM, section 2.3).
CLASSIFIERS: Mapping[str, Callable[[int, np.ndarray], ClassifierMixin]] = MappingProxyType(
    {
        "rf": _forest,
        "svm_poly": partial(_svm, "poly"),
        "xgboost": _xgboost,
        "svm_rbf": partial(_svm, "rbf"),
        "ann": _ann,
        "logistic": _logistic,
    }
)


class LatentClassifier:
    """A scikit-learn classifier whose probabilities always have a column for every label of the model.

    A class that the training cells lack has probability 0. The classifier inside sees consecutive integers, which
    XGBoost insists on; `classes` says which label each of them is.

    Args:
        estimator: A fitted scikit-learn classifier on latents (n, d), whose classes are 0..k-1.
        classes: Index of the label that each of its classes stands for, ascending, int64 (k,).
        n_labels: Number of labels of the model.
        file: The file that it was read from, if it was; written again as it is when the model is saved.

    Attributes:
        among: Those of `classes` that it chooses among; see `choose_among`.
    """

    def __init__(self, estimator: Any, classes: np.ndarray, n_labels: int, file: bytes | None = None) -> None:
        self.estimator = estimator
        self.classes = np.asarray(classes, dtype=np.int64)
        self.among = self.classes
        self.n_labels = n_labels
        self.file = file

    @classmethod
    def fit(cls, name: str, latents: np.ndarray, labels: np.ndarray, n_labels: int, seed: int = 1234) -> Self:
        """Fits a classifier.

        A class with a single cell is shown twice, since calibration and early stopping set cells aside.

        Args:
            name: One of `CLASSIFIERS`.
            latents: (n, d) float.
            labels: (n,) integers in 0..n_labels-1.
            n_labels: Number of labels of the model.
            seed: Seed of everything random in it.

        Raises:
            ConfigError: If there is no such classifier.
            DataError: If there are fewer than two classes.

        Example:
            >>> latents = np.array([[0.0], [0.1], [5.0], [5.1]])
            >>> classifier = LatentClassifier.fit("logistic", latents, np.array([2, 2, 7, 7]), n_labels=13)
            >>> classifier.predict(latents).tolist()
            [2, 2, 7, 7]
        """
        if name not in CLASSIFIERS:
            raise ConfigError(f"There is no classifier {name!r}; choose from {', '.join(CLASSIFIERS)}.")
        classes, encoded, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if len(classes) < 2:
            raise DataError(f"{name} needs labelled cells of at least two classes, but got {len(classes)}. Add more.")
        rows = np.repeat(np.arange(len(encoded)), np.where(counts[encoded] == 1, 2, 1))
        estimator = CLASSIFIERS[name](seed, np.maximum(counts, 2))
        estimator.fit(np.asarray(latents, dtype=np.float32)[rows], encoded[rows])
        return cls(estimator, classes, n_labels)

    def choose_among(self, labels: Collection[int]) -> None:
        """From now on gives each cell one of some labels: each cell is sure to be of one of those.

        Args:
            labels: Indices of the labels.

        Raises:
            ConfigError: If it has learned none of them.
        """
        among = np.intersect1d(self.classes, list(labels))
        if not len(among):
            raise ConfigError("The classifier has learned none of the labels that it is to choose among.")
        self.among = among

    def predict_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, n_labels), float32, of latents (n, d); rows sum to 1."""
        probabilities = self.learned_proba(latents)
        return probabilities if len(self.among) == len(self.classes) else limited(probabilities, self.among)

    def learned_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns the probabilities of all that it has learned, as `predict_proba` does, whatever it chooses among."""
        latents = np.asarray(latents, dtype=np.float32)
        probabilities = np.zeros((len(latents), self.n_labels), dtype=np.float32)
        if len(latents):
            probabilities[:, self.classes] = self.estimator.predict_proba(latents)
        return probabilities

    def predict(self, latents: np.ndarray) -> np.ndarray:
        """Returns the most probable label's index (n,), int64, of latents (n, d)."""
        return self.predict_proba(latents).argmax(axis=1)


def limited(probabilities: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Returns what probabilities are where it is known that a cell is of one of some labels.

    Args:
        probabilities: (..., n_labels), each row of sum 1.
        among: Indices of the labels.

    Example:
        >>> limited(np.array([0.5, 0.375, 0.125]), np.array([1, 2])).tolist()
        [0.0, 0.75, 0.25]
    """
    possible = np.zeros_like(probabilities)
    # Where none of them has any probability, all are as likely.
    possible[..., among] = probabilities[..., among] + np.finfo(np.float32).tiny
    return possible / possible.sum(axis=-1, keepdims=True)


def fit_classifiers(
    names: Sequence[str], latents: np.ndarray, labels: np.ndarray, n_labels: int, seed: int = 1234
) -> dict[str, LatentClassifier]:
    """Fits several classifiers on the same labelled latents; see `LatentClassifier.fit`."""
    return {name: LatentClassifier.fit(name, latents, labels, n_labels, seed) for name in names}


def limit_classifiers(
    classifiers: Mapping[str, LatentClassifier], labels: Sequence[str], among: Collection[str]
) -> None:
    """Has several classifiers choose among some labels; see `LatentClassifier.choose_among`.

    Args:
        classifiers: Changed in place.
        labels: Names of the labels, in the order of the probability columns.
        among: Some of them; empty for all.
    """
    for classifier in classifiers.values():
        classifier.choose_among([labels.index(label) for label in among or labels])
