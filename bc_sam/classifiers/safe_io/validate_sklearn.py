"""Whether a classifier that was read from a file is what `bc_sam` fits, and safe to ask.

The compiled code of scikit-learn takes the shapes and indices in a classifier for granted; one wrong number and it
reads outside its arrays. All that it relies on is checked here.
"""

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV, _CalibratedClassifier, _SigmoidCalibration
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import TREE_LEAF, Tree

_TWISTER_WORDS = 624  # of numpy's Mersenne Twister


def require_sound(estimator: Any, name: str, n_features: int | None = None, n_classes: int | None = None) -> None:
    """Checks a fitted classifier, at last by asking it.

    Args:
        estimator: What was read. A booster must have come through `bc_sam.classifiers.safe_io.validate_xgboost`.
        name: Kind of the classifier.
        n_features: Numbers of a latent; if not given, as many as it says.
        n_classes: Number of its classes, which must be 0, 1, 2 ...; if not given, as many as it says.

    Raises:
        ValueError: Says what is wrong with it; other built-in errors where something is not there at all.
    """
    n_features = int(estimator.n_features_in_) if n_features is None else n_features
    n_classes = len(estimator.classes_) if n_classes is None else n_classes
    if name == "rf":
        _check_forest(estimator, n_features, n_classes)
    elif name != "xgboost":
        _check_pipeline(estimator, name, n_features, n_classes)
    _require(np.array_equal(estimator.classes_, np.arange(n_classes)), "its classes are not those of the model")
    row = estimator.predict_proba(np.zeros((1, n_features), dtype=np.float32))
    _require(row.shape == (1, n_classes) and bool(abs(row.sum() - 1) < 1e-3), "it gives no probabilities")


def _check_forest(forest: Any, n_features: int, n_classes: int) -> None:
    _require_plain(forest, RandomForestClassifier, n_features)
    _require(forest.n_outputs_ == 1 and forest.n_classes_ == n_classes, "it has other classes than the model")
    for member in forest.estimators_:
        _require_plain(member, DecisionTreeClassifier, n_features)
        _require(member.n_outputs_ == 1 and member.n_classes_ == n_classes, "a tree has other classes")
        _require(_is_sound_tree(member.tree_, n_features, n_classes), "a tree leads out of its arrays")


def _is_sound_tree(tree: Tree, n_features: int, n_classes: int) -> bool:
    """Whether every node leads on to later nodes of its tree, and looks at a feature that there is."""
    if not 0 < tree.node_count == tree.capacity or tree.n_outputs != 1 or tree.max_n_classes != n_classes:
        return False  # before its arrays are looked at, which are as long as these numbers say
    inner = np.flatnonzero(tree.children_left != TREE_LEAF)
    children = np.stack([tree.children_left[inner], tree.children_right[inner]])
    features = tree.feature[inner]
    return bool(
        ((children > inner) & (children < tree.node_count)).all()
        and ((features >= 0) & (features < n_features)).all()
        and np.isfinite(tree.threshold).all()
        and np.isfinite(tree.value).all()
    )


def _check_pipeline(pipeline: Any, name: str, n_features: int, n_classes: int) -> None:
    _require_plain(pipeline, Pipeline)
    (_, scaler), (_, last) = pipeline.steps
    _require_plain(scaler, StandardScaler, n_features)
    _require_shape(scaler.mean_, n_features)
    _require_shape(scaler.scale_, n_features)
    if name == "ann":
        _check_network(last, n_features, n_classes)
    elif name == "logistic":
        _require_plain(last, LogisticRegression, n_features)
        _require_shape(last.coef_, _columns(n_classes), n_features)
        _require_shape(last.intercept_, _columns(n_classes))
    else:
        _check_calibrated(last, name, n_features, n_classes)


def _check_network(network: Any, n_features: int, n_classes: int) -> None:
    _require_plain(network, MLPClassifier, n_features)
    _require(network.n_layers_ == len(network.coefs_) + 1 == len(network.intercepts_) + 1, "it lacks a layer")
    width = n_features
    for weight, bias in zip(network.coefs_, network.intercepts_, strict=True):
        _require_shape(weight, width, len(bias))
        _require_shape(bias, width := len(bias))
    _require(width == _columns(n_classes), "it has other classes than the model")
    position = network._random_state.get_state(legacy=False)["state"]["pos"]
    _require(0 <= position <= _TWISTER_WORDS, "its random numbers lead out of their table")


def _check_calibrated(model: Any, name: str, n_features: int, n_classes: int) -> None:
    _require_plain(model, CalibratedClassifierCV, n_features)
    (calibrated,) = model.calibrated_classifiers_
    _require_plain(calibrated, _CalibratedClassifier)
    _require(np.array_equal(calibrated.classes, np.arange(n_classes)), "it is calibrated for other classes")
    _require(len(calibrated.calibrators) == _columns(n_classes), "it lacks a calibration")
    for calibrator in calibrated.calibrators:
        _require_plain(calibrator, _SigmoidCalibration)
        _require_shape(calibrator.a_)
        _require_shape(calibrator.b_)
    _check_svm(calibrated.estimator, name, n_features, n_classes)


def _check_svm(svm: Any, name: str, n_features: int, n_classes: int) -> None:
    """Checks what libsvm takes for granted: it reads from each array as far as the others let it."""
    _require_plain(svm, SVC, n_features)
    _require(f"svm_{svm.kernel}" == name and svm._sparse is False, "it has another kernel")
    _require(np.array_equal(svm.classes_, np.arange(n_classes)), "its classes are not those of the model")
    vectors, counts = len(svm.support_), svm._n_support
    _require_shape(counts, n_classes)
    _require(bool((counts >= 0).all()) and counts.sum() == vectors > 0, "its support vectors are of no class")
    _require_shape(svm.support_vectors_, vectors, n_features)
    _require_shape(svm._dual_coef_, n_classes - 1, vectors)
    _require_shape(svm._intercept_, n_classes * (n_classes - 1) // 2)
    _require_shape(svm._gamma)


def _columns(n_classes: int) -> int:
    """Two classes share one column of scores: one is what the other is not."""
    return 1 if n_classes == 2 else n_classes


def _require_plain(part: Any, kind: type, n_features: int | None = None) -> None:
    """Checks the class, and that no attribute stands in front of a method or constant of the class."""
    _require(type(part) is kind, f"it holds {type(part).__name__} in the place of {kind.__name__}")
    hidden = [name for name in vars(part) if hasattr(kind, name)]
    _require(not hidden, f"its {kind.__name__} replaces {hidden}")
    _require(n_features is None or part.n_features_in_ == n_features, "it is fitted on latents of another length")


def _require_shape(array: Any, *shape: int) -> None:
    _require(np.shape(array) == shape, f"an array is of shape {np.shape(array)} instead of {shape}")
    _require(bool(np.isfinite(array).all()), "an array holds values that are not finite")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)
