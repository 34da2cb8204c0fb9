"""The attributes of a loaded classifier are validated before compiled code relies on them."""

import copy

import numpy as np
import pytest

from bc_sam.classifiers.kinds import KINDS
from bc_sam.classifiers.safe_io.validate_sklearn import require_sound

N_FEATURES, N_CLASSES = 8, 5
SKLEARN_KINDS = ["rf", "svm_poly", "svm_rbf", "ann", "logistic"]


def check(model, name, *sizes):
    require_sound(model, KINDS[name].check, *sizes)


def refuses(model, name, problem, *sizes):
    """Checks that a model is refused for the given reason, not because the check crashes."""
    with pytest.raises(ValueError, match=problem):
        check(model, name, *(sizes or (N_FEATURES, N_CLASSES)))


def forest(model):
    return model.estimators_[-1]


def svm(model):
    return model[-1].calibrated_classifiers_[0].estimator


def set_tree(model, **changes):
    tree = forest(model).tree_
    tree.__setstate__(tree.__getstate__() | changes)


def set_node(model, field, value, node=0):
    nodes = forest(model).tree_.__getstate__()["nodes"].copy()
    nodes[field][node] = value
    set_tree(model, nodes=nodes)


def set_value(array, value):
    """Sets the first value of an array, which may be read-only."""
    array.flags.writeable = True
    array.flat[0] = value


@pytest.fixture
def fitted(fitted_classifiers):
    """Copies of one classifier of each kind, for tests to corrupt."""
    return lambda name: copy.deepcopy(fitted_classifiers[name].estimator)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("sizes", [(), (N_FEATURES, N_CLASSES)])
def test_fitted_classifiers_are_valid(fitted, name, sizes):
    check(fitted(name), name, *sizes)


@pytest.mark.parametrize("name", KINDS)
def test_another_embedding_dimension_is_refused(fitted, name):
    refuses(fitted(name), name, "fitted on embeddings of another dimension", N_FEATURES + 1, N_CLASSES)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("n_classes", [N_CLASSES + 1, 0])
def test_other_classes_are_refused(fitted, name, n_classes):
    problem = "number of classes|calibrated for other classes|differ from the model's|an array has shape"
    refuses(fitted(name), name, problem, N_FEATURES, n_classes)


@pytest.mark.parametrize("name", SKLEARN_KINDS)
@pytest.mark.parametrize("other", SKLEARN_KINDS)
def test_a_classifier_of_another_kind_is_refused(fitted, name, other):
    if name != other:
        refuses(fitted(name), other, r"it holds \w+ instead of|another kernel")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda model: set_node(model, "left_child", 10**6), "invalid sizes, indices"),
        (lambda model: set_node(model, "right_child", -5), "invalid sizes, indices"),
        (lambda model: set_node(model, "left_child", 0), "invalid sizes, indices"),
        (lambda model: set_node(model, "feature", N_FEATURES), "invalid sizes, indices"),
        (lambda model: set_node(model, "feature", -1), "invalid sizes, indices"),
        (lambda model: set_node(model, "threshold", np.nan), "invalid sizes, indices"),
        (lambda model: set_tree(model, node_count=10**9), "invalid sizes, indices"),
        (lambda model: set_tree(model, node_count=0), "invalid sizes, indices"),
        (lambda model: set_tree(model, node_count=-1), "invalid sizes, indices"),
        (
            lambda model: set_tree(model, values=np.full_like(forest(model).tree_.value, np.inf)),
            "invalid sizes, indices",
        ),
        (lambda model: setattr(model, "n_classes_", 10**9), "number of classes differs"),
        (lambda model: setattr(model, "n_features_in_", N_FEATURES - 1), "embeddings of another dimension"),
        (lambda model: setattr(model, "n_outputs_", 2), "number of classes differs"),
        (lambda model: setattr(model, "estimators_", []), "no trees"),
        (lambda model: setattr(model, "estimators_", [model]), "instead of DecisionTreeClassifier"),
        (lambda model: setattr(model, "predict_proba", model), "RandomForestClassifier overrides"),
        (lambda model: setattr(forest(model), "n_classes_", 10**9), "a tree has another number of classes"),
        (lambda model: setattr(forest(model), "n_features_in_", N_FEATURES - 1), "embeddings of another dimension"),
        (lambda model: setattr(forest(model), "predict_proba", model), "DecisionTreeClassifier overrides"),
    ],
)
def test_a_forest_with_invalid_indices_or_attributes_is_refused(fitted, spoil, problem):
    model = fitted("rf")
    spoil(model)
    refuses(model, "rf", problem)


@pytest.mark.parametrize("name", ["svm_poly", "svm_rbf"])
@pytest.mark.parametrize(
    ("attribute", "change", "problem"),
    [
        ("support_", lambda array: np.zeros(10**6, array.dtype), "support vectors do not match"),
        ("support_", lambda array: array[:0], "support vectors do not match"),
        ("support_vectors_", lambda array: array[:-1], "an array has shape"),
        ("support_vectors_", lambda array: np.ascontiguousarray(array[:, :-1]), "an array has shape"),
        ("support_vectors_", lambda array: np.full_like(array, np.nan), "not finite"),
        ("_n_support", lambda array: array * 1000, "support vectors do not match"),
        ("_n_support", lambda array: array[:-1], "an array has shape"),
        (
            "_n_support",
            lambda array: array + np.array([-1000, 1000, 0, 0, 0], array.dtype),
            "support vectors do not match",
        ),
        ("_dual_coef_", lambda array: array[:1], "an array has shape"),
        ("_dual_coef_", lambda array: array[:, :1], "an array has shape"),
        ("_dual_coef_", lambda array: np.full_like(array, np.inf), "not finite"),
        ("_intercept_", lambda array: array[:1], "an array has shape"),
        ("_gamma", lambda _: float("nan"), "not finite"),
        ("kernel", lambda _: "precomputed", "another kernel"),
        ("_sparse", lambda _: True, "another kernel"),
        ("_impl", lambda _: "epsilon_svr", "SVC overrides"),
        ("n_features_in_", lambda _: N_FEATURES - 1, "embeddings of another dimension"),
        ("classes_", lambda array: array[:-1], "differ from the model's"),
    ],
)
def test_an_svm_with_inconsistent_arrays_is_refused(fitted, name, attribute, change, problem):
    model = fitted(name)
    setattr(svm(model), attribute, change(getattr(svm(model), attribute)))
    refuses(model, name, problem)


def calibrated(model):
    return model[-1].calibrated_classifiers_[0]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (
            lambda model: setattr(model[-1], "calibrated_classifiers_", [calibrated(model)] * 2),
            "exactly one calibrated",
        ),
        (lambda model: setattr(calibrated(model), "calibrators", []), "calibrator is missing"),
        (lambda model: setattr(calibrated(model), "classes", np.arange(10**6)), "calibrated for other classes"),
        (lambda model: setattr(calibrated(model), "estimator", model), "instead of SVC"),
        (lambda model: setattr(calibrated(model).calibrators[0], "a_", np.nan), "not finite"),
        (lambda model: setattr(model[0], "mean_", np.zeros(3)), "an array has shape"),
        (lambda model: setattr(model[0], "scale_", np.full(N_FEATURES, np.nan)), "not finite"),
        (lambda model: setattr(model, "steps", model.steps[::-1]), "instead of StandardScaler"),
        (lambda model: setattr(model, "steps", model.steps[1:]), "not a scaler followed"),
    ],
)
def test_an_inconsistent_calibration_or_scaling_is_refused(fitted, spoil, problem):
    model = fitted("svm_rbf")
    spoil(model)
    refuses(model, "svm_rbf", problem)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda network: network.coefs_.reverse(), "an array has shape"),
        (lambda network: network.coefs_.pop(), "layer is missing"),
        (lambda network: network.intercepts_.pop(), "layer is missing"),
        (lambda network: set_value(network.coefs_[0], np.nan), "not finite"),
        (lambda network: setattr(network, "n_layers_", 10**9), "layer is missing"),
        (lambda network: setattr(network, "activation", "evil"), "it cannot predict"),
        (lambda network: setattr(network, "out_activation_", "identity"), "does not return probabilities"),
        (lambda network: setattr(network, "_random_state", out_of_bounds_state()), "random state is out of bounds"),
    ],
)
def test_a_network_with_inconsistent_layers_is_refused(fitted, spoil, problem):
    model = fitted("ann")
    spoil(model[-1])
    refuses(model, "ann", problem)


@pytest.mark.parametrize(
    ("attribute", "value", "problem"),
    [
        ("coef_", np.zeros((N_CLASSES, N_FEATURES - 1)), "an array has shape"),
        ("coef_", np.full((N_CLASSES, N_FEATURES), np.inf), "not finite"),
        ("intercept_", np.zeros(10**6), "an array has shape"),
        ("classes_", np.arange(1, N_CLASSES + 1), "differ from the model's"),
    ],
)
def test_a_regression_with_other_shapes_is_refused(fitted, attribute, value, problem):
    model = fitted("logistic")
    setattr(model[-1], attribute, value)
    refuses(model, "logistic", problem)


def out_of_bounds_state():
    """A random state whose position is out of bounds."""
    generator = np.random.RandomState(0)
    state = generator.get_state(legacy=False)
    state["state"]["pos"] = 10**6
    generator.set_state(state)
    return generator
