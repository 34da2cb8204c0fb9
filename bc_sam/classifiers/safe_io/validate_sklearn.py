"""Validates scikit-learn classifiers from untrusted files before they are used.

The compiled code of scikit-learn trusts the shapes and indices in a classifier; a single wrong index makes it read out
of bounds. Everything that it relies on is checked here.
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

_TWISTER_WORDS = 624  # state size of numpy's Mersenne Twister


def require_sound(
    estimator: Any,
    check: Callable[[Any, int, int], None],
    n_features: int | None = None,
    n_classes: int | None = None,
) -> None:
    """Checks a loaded classifier, and then that it returns probabilities.

    Args:
        estimator: The loaded classifier. XGBoost classifiers must come from
            `bc_sam.classifiers.safe_io.validate_xgboost`.
        check: The check of its kind, called with the estimator and its numbers of features and classes.
        n_features: Dimension of the embeddings; by default the estimator's.
        n_classes: Number of classes, which must be 0, 1, 2 ...; by default the estimator's.

    Raises:
        ValueError: If it is invalid; other built-in errors if it lacks an attribute.
    """
    n_features = int(estimator.n_features_in_) if n_features is None else n_features
    n_classes = len(estimator.classes_) if n_classes is None else n_classes
    check(estimator, n_features, n_classes)
    require(estimator.n_features_in_ == n_features, "it was fitted on embeddings of another dimension")
    require(np.array_equal(estimator.classes_, np.arange(n_classes)), "its classes differ from the model's")
    _require_probabilities(estimator, n_features, n_classes)


def _require_probabilities(estimator: Any, n_features: int, n_classes: int) -> None:
    """Predicts one embedding, since indices have been checked by now but hyperparameters have not."""
    try:
        row = estimator.predict_proba(np.zeros((1, n_features), dtype=np.float32))
    except Exception as error:
        raise ValueError(f"it cannot predict: {error}") from error
    require(row.shape == (1, n_classes) and bool(abs(row.sum() - 1) < 1e-3), "it does not return probabilities")


def check_forest(forest: Any, n_features: int, n_classes: int) -> None:
    """Checks a random forest: every node of every tree has valid child and feature indices."""
    require_type(forest, RandomForestClassifier, n_features)
    require(
        forest.n_outputs_ == 1 and forest.n_classes_ == n_classes, "its number of classes differs from the model's"
    )
    require(len(forest.estimators_) > 0, "it has no trees")
    for member in forest.estimators_:
        require_type(member, DecisionTreeClassifier, n_features)
        require(member.n_outputs_ == 1 and member.n_classes_ == n_classes, "a tree has another number of classes")
        require(_is_sound_tree(member.tree_, n_features, n_classes), "a tree has invalid sizes, indices or values")


def _is_sound_tree(tree: Tree, n_features: int, n_classes: int) -> bool:
    """Whether children come after their parents within the tree, features exist, and values are finite."""
    if not 0 < tree.node_count == tree.capacity or tree.n_outputs != 1 or tree.max_n_classes != n_classes:
        return False  # before accessing its arrays, whose lengths derive from these sizes
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
    """Checks a scaler followed by a logistic regression."""
    model = _last_of_scaled(pipeline, n_features)
    require_type(model, LogisticRegression, n_features)
    require_array(model.coef_, _columns(n_classes), n_features)
    require_array(model.intercept_, _columns(n_classes))


def check_neural_network(pipeline: Any, n_features: int, n_classes: int) -> None:
    """Checks a scaler followed by a multilayer perceptron."""
    network = _last_of_scaled(pipeline, n_features)
    require_type(network, MLPClassifier, n_features)
    require(network.n_layers_ == len(network.coefs_) + 1 == len(network.intercepts_) + 1, "a layer is missing")
    width = n_features
    for weight, bias in zip(network.coefs_, network.intercepts_, strict=True):
        require_array(weight, width, len(bias))
        require_array(bias, width := len(bias))
    require(width == _columns(n_classes), "its number of classes differs from the model's")
    position = network._random_state.get_state(legacy=False)["state"]["pos"]
    require(0 <= position <= _TWISTER_WORDS, "the position of its random state is out of bounds")


def check_svm(kernel: str, pipeline: Any, n_features: int, n_classes: int) -> None:
    """Checks a scaler followed by a calibrated SVM with the given kernel."""
    model = _last_of_scaled(pipeline, n_features)
    require_type(model, CalibratedClassifierCV, n_features)
    require(len(model.calibrated_classifiers_) == 1, "it must hold exactly one calibrated SVM")
    (calibrated,) = model.calibrated_classifiers_
    require_type(calibrated, _CalibratedClassifier)
    require(np.array_equal(calibrated.classes, np.arange(n_classes)), "it is calibrated for other classes")
    require(len(calibrated.calibrators) == _columns(n_classes), "a calibrator is missing")
    for calibrator in calibrated.calibrators:
        require_type(calibrator, _SigmoidCalibration)
        require_array(calibrator.a_)
        require_array(calibrator.b_)
    _check_libsvm(calibrated.estimator, kernel, n_features, n_classes)


def _check_libsvm(svm: Any, kernel: str, n_features: int, n_classes: int) -> None:
    """Checks the array shapes that libsvm relies on: it derives the length of each array from the others."""
    require_type(svm, SVC, n_features)
    require(svm.kernel == kernel and svm._sparse is False, "it has another kernel")
    require(np.array_equal(svm.classes_, np.arange(n_classes)), "its classes differ from the model's")
    vectors, counts = len(svm.support_), svm._n_support
    require_array(counts, n_classes)
    require(bool((counts >= 0).all()) and counts.sum() == vectors > 0, "its support vectors do not match their counts")
    require_array(svm.support_vectors_, vectors, n_features)
    require_array(svm._dual_coef_, n_classes - 1, vectors)
    require_array(svm._intercept_, n_classes * (n_classes - 1) // 2)
    require_array(svm._gamma)


def _last_of_scaled(pipeline: Any, n_features: int) -> Any:
    """Checks a pipeline of a scaler and one more step, and returns that step."""
    require_type(pipeline, Pipeline)
    require(len(pipeline.steps) == 2, "it is not a scaler followed by a classifier")
    (_, scaler), (_, last) = pipeline.steps
    require_type(scaler, StandardScaler, n_features)
    require_array(scaler.mean_, n_features)
    require_array(scaler.scale_, n_features)
    return last


def _columns(n_classes: int) -> int:
    """Returns the number of score columns; binary classifiers have one."""
    return 1 if n_classes == 2 else n_classes
