"""Whether a classifier that was read from a file is what `bc_sam` fits, and safe to ask.

The compiled code of scikit-learn takes the shapes and indices in a classifier for granted; one wrong number and it
reads outside its arrays. All that it relies on is checked here.
"""

from collections.abc import Callable
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

from bc_sam.classifiers.safe_io.checks import require, require_array, require_type

_TWISTER_WORDS = 624  # of numpy's Mersenne Twister


def require_sound(
    estimator: Any,
    check: Callable[[Any, int, int], None],
    n_features: int | None = None,
    n_classes: int | None = None,
) -> None:
    """Checks a loaded classifier, and then that it gives probabilities.

    Args:
        estimator: What was read. A booster must have come through `bc_sam.classifiers.safe_io.validate_xgboost`.
        check: The check of its kind, called with the estimator and its numbers of features and classes.
        n_features: Length of an embedding; if not given, what the estimator says.
        n_classes: Number of its classes, which must be 0, 1, 2 ...; if not given, what the estimator says.

    Raises:
        ValueError: Says what is wrong with it; other built-in errors where it lacks a part altogether.
    """
    n_features = int(estimator.n_features_in_) if n_features is None else n_features
    n_classes = len(estimator.classes_) if n_classes is None else n_classes
    check(estimator, n_features, n_classes)
    require(estimator.n_features_in_ == n_features, "it is fitted on embeddings of another length")
    require(np.array_equal(estimator.classes_, np.arange(n_classes)), "its classes are not those of the model")
    _require_probabilities(estimator, n_features, n_classes)


def _require_probabilities(estimator: Any, n_features: int, n_classes: int) -> None:
    """Asks the classifier about one embedding; every index has been checked, its settings have not."""
    try:
        row = estimator.predict_proba(np.zeros((1, n_features), dtype=np.float32))
    except Exception as error:
        raise ValueError(f"it cannot predict: {error}") from error
    require(row.shape == (1, n_classes) and bool(abs(row.sum() - 1) < 1e-3), "it gives no probabilities")


def check_forest(forest: Any, n_features: int, n_classes: int) -> None:
    """Checks a random forest: every node of every tree leads to a node and a feature that exist."""
    require_type(forest, RandomForestClassifier, n_features)
    require(forest.n_outputs_ == 1 and forest.n_classes_ == n_classes, "it has other classes than the model")
    require(len(forest.estimators_) > 0, "it has no trees")
    for member in forest.estimators_:
        require_type(member, DecisionTreeClassifier, n_features)
        require(member.n_outputs_ == 1 and member.n_classes_ == n_classes, "a tree has other classes")
        require(_is_sound_tree(member.tree_, n_features, n_classes), "a tree leads out of its arrays")


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


def check_logistic_regression(pipeline: Any, n_features: int, n_classes: int) -> None:
    """Checks a scaler with a logistic regression."""
    model = _last_of_scaled(pipeline, n_features)
    require_type(model, LogisticRegression, n_features)
    require_array(model.coef_, _columns(n_classes), n_features)
    require_array(model.intercept_, _columns(n_classes))


def check_neural_network(pipeline: Any, n_features: int, n_classes: int) -> None:
    """Checks a scaler with a multilayer perceptron."""
    network = _last_of_scaled(pipeline, n_features)
    require_type(network, MLPClassifier, n_features)
    require(network.n_layers_ == len(network.coefs_) + 1 == len(network.intercepts_) + 1, "it lacks a layer")
    width = n_features
    for weight, bias in zip(network.coefs_, network.intercepts_, strict=True):
        require_array(weight, width, len(bias))
        require_array(bias, width := len(bias))
    require(width == _columns(n_classes), "it has other classes than the model")
    position = network._random_state.get_state(legacy=False)["state"]["pos"]
    require(0 <= position <= _TWISTER_WORDS, "its random numbers lead out of their table")


def check_svm(kernel: str, pipeline: Any, n_features: int, n_classes: int) -> None:
    """Checks a scaler with a calibrated SVM of the given kernel."""
    model = _last_of_scaled(pipeline, n_features)
    require_type(model, CalibratedClassifierCV, n_features)
    require(len(model.calibrated_classifiers_) == 1, "it is no single calibrated SVM")
    (calibrated,) = model.calibrated_classifiers_
    require_type(calibrated, _CalibratedClassifier)
    require(np.array_equal(calibrated.classes, np.arange(n_classes)), "it is calibrated for other classes")
    require(len(calibrated.calibrators) == _columns(n_classes), "it lacks a calibration")
    for calibrator in calibrated.calibrators:
        require_type(calibrator, _SigmoidCalibration)
        require_array(calibrator.a_)
        require_array(calibrator.b_)
    _check_libsvm(calibrated.estimator, kernel, n_features, n_classes)


def _check_libsvm(svm: Any, kernel: str, n_features: int, n_classes: int) -> None:
    """Checks what libsvm takes for granted: it reads from each array as far as the others let it."""
    require_type(svm, SVC, n_features)
    require(svm.kernel == kernel and svm._sparse is False, "it has another kernel")
    require(np.array_equal(svm.classes_, np.arange(n_classes)), "its classes are not those of the model")
    vectors, counts = len(svm.support_), svm._n_support
    require_array(counts, n_classes)
    require(bool((counts >= 0).all()) and counts.sum() == vectors > 0, "its support vectors are of no class")
    require_array(svm.support_vectors_, vectors, n_features)
    require_array(svm._dual_coef_, n_classes - 1, vectors)
    require_array(svm._intercept_, n_classes * (n_classes - 1) // 2)
    require_array(svm._gamma)


def _last_of_scaled(pipeline: Any, n_features: int) -> Any:
    """Checks a pipeline of a scaler and one more step, and returns that step."""
    require_type(pipeline, Pipeline)
    require(len(pipeline.steps) == 2, "it is no scaler with a classifier")
    (_, scaler), (_, last) = pipeline.steps
    require_type(scaler, StandardScaler, n_features)
    require_array(scaler.mean_, n_features)
    require_array(scaler.scale_, n_features)
    return last


def _columns(n_classes: int) -> int:
    """Two classes share one column of scores: one is what the other is not."""
    return 1 if n_classes == 2 else n_classes
