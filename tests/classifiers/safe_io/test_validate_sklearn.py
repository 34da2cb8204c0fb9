"""What a fitted classifier says of itself is checked before compiled code believes it."""

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
    """Checks that a model is refused for the given reason, and not by an accidental crash of the check."""
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
    """Changes the first number of an array; the library keeps some read-only."""
    array.flags.writeable = True
    array.flat[0] = value


@pytest.fixture
def fitted(fitted_classifiers):
    """Copies of one classifier of each kind, to be spoiled."""
    return lambda name: copy.deepcopy(fitted_classifiers[name].estimator)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("sizes", [(), (N_FEATURES, N_CLASSES)])
def test_what_was_fitted_is_sound(fitted, name, sizes):
    check(fitted(name), name, *sizes)


@pytest.mark.parametrize("name", KINDS)
def test_it_must_be_of_the_models_embeddings(fitted, name):
    refuses(fitted(name), name, "fitted on embeddings of another length", N_FEATURES + 1, N_CLASSES)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("n_classes", [N_CLASSES + 1, 0])
def test_it_must_be_of_the_models_classes(fitted, name, n_classes):
    problem = "other classes|not those of the model|an array is of shape"
    refuses(fitted(name), name, problem, N_FEATURES, n_classes)


@pytest.mark.parametrize("name", SKLEARN_KINDS)
@pytest.mark.parametrize("other", SKLEARN_KINDS)
def test_one_kind_does_not_pass_for_another(fitted, name, other):
    if name != other:
        refuses(fitted(name), other, "in the place of|another kernel")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda model: set_node(model, "left_child", 10**6), "leads out of its arrays"),
        (lambda model: set_node(model, "right_child", -5), "leads out of its arrays"),
        (lambda model: set_node(model, "left_child", 0), "leads out of its arrays"),
        (lambda model: set_node(model, "feature", N_FEATURES), "leads out of its arrays"),
        (lambda model: set_node(model, "feature", -1), "leads out of its arrays"),
        (lambda model: set_node(model, "threshold", np.nan), "leads out of its arrays"),
        (lambda model: set_tree(model, node_count=10**9), "leads out of its arrays"),
        (lambda model: set_tree(model, node_count=0), "leads out of its arrays"),
        (lambda model: set_tree(model, node_count=-1), "leads out of its arrays"),
        (lambda model: set_tree(model, values=np.full_like(forest(model).tree_.value, np.inf)), "leads out of"),
        (lambda model: setattr(model, "n_classes_", 10**9), "other classes than the model"),
        (lambda model: setattr(model, "n_features_in_", N_FEATURES - 1), "embeddings of another length"),
        (lambda model: setattr(model, "n_outputs_", 2), "other classes than the model"),
        (lambda model: setattr(model, "estimators_", []), "no trees"),
        (lambda model: setattr(model, "estimators_", [model]), "in the place of DecisionTreeClassifier"),
        (lambda model: setattr(model, "predict_proba", model), "RandomForestClassifier replaces"),
        (lambda model: setattr(forest(model), "n_classes_", 10**9), "a tree has other classes"),
        (lambda model: setattr(forest(model), "n_features_in_", N_FEATURES - 1), "embeddings of another length"),
        (lambda model: setattr(forest(model), "predict_proba", model), "DecisionTreeClassifier replaces"),
    ],
)
def test_a_forest_that_leads_outside_is_not_sound(fitted, spoil, problem):
    model = fitted("rf")
    spoil(model)
    refuses(model, "rf", problem)


@pytest.mark.parametrize("name", ["svm_poly", "svm_rbf"])
@pytest.mark.parametrize(
    ("attribute", "change", "problem"),
    [
        ("support_", lambda array: np.zeros(10**6, array.dtype), "support vectors are of no class"),
        ("support_", lambda array: array[:0], "support vectors are of no class"),
        ("support_vectors_", lambda array: array[:-1], "an array is of shape"),
        ("support_vectors_", lambda array: np.ascontiguousarray(array[:, :-1]), "an array is of shape"),
        ("support_vectors_", lambda array: np.full_like(array, np.nan), "not finite"),
        ("_n_support", lambda array: array * 1000, "support vectors are of no class"),
        ("_n_support", lambda array: array[:-1], "an array is of shape"),
        ("_n_support", lambda array: array + np.array([-1000, 1000, 0, 0, 0], array.dtype), "are of no class"),
        ("_dual_coef_", lambda array: array[:1], "an array is of shape"),
        ("_dual_coef_", lambda array: array[:, :1], "an array is of shape"),
        ("_dual_coef_", lambda array: np.full_like(array, np.inf), "not finite"),
        ("_intercept_", lambda array: array[:1], "an array is of shape"),
        ("_gamma", lambda _: float("nan"), "not finite"),
        ("kernel", lambda _: "precomputed", "another kernel"),
        ("_sparse", lambda _: True, "another kernel"),
        ("_impl", lambda _: "epsilon_svr", "SVC replaces"),
        ("n_features_in_", lambda _: N_FEATURES - 1, "embeddings of another length"),
        ("classes_", lambda array: array[:-1], "not those of the model"),
    ],
)
def test_an_svm_whose_arrays_disagree_is_not_sound(fitted, name, attribute, change, problem):
    model = fitted(name)
    setattr(svm(model), attribute, change(getattr(svm(model), attribute)))
    refuses(model, name, problem)


def calibrated(model):
    return model[-1].calibrated_classifiers_[0]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda model: setattr(model[-1], "calibrated_classifiers_", [calibrated(model)] * 2), "no single calibrated"),
        (lambda model: setattr(calibrated(model), "calibrators", []), "lacks a calibration"),
        (lambda model: setattr(calibrated(model), "classes", np.arange(10**6)), "calibrated for other classes"),
        (lambda model: setattr(calibrated(model), "estimator", model), "in the place of SVC"),
        (lambda model: setattr(calibrated(model).calibrators[0], "a_", np.nan), "not finite"),
        (lambda model: setattr(model[0], "mean_", np.zeros(3)), "an array is of shape"),
        (lambda model: setattr(model[0], "scale_", np.full(N_FEATURES, np.nan)), "not finite"),
        (lambda model: setattr(model, "steps", model.steps[::-1]), "in the place of StandardScaler"),
        (lambda model: setattr(model, "steps", model.steps[1:]), "no scaler with a classifier"),
    ],
)
def test_a_calibration_or_scaling_that_does_not_fit_is_not_sound(fitted, spoil, problem):
    model = fitted("svm_rbf")
    spoil(model)
    refuses(model, "svm_rbf", problem)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda network: network.coefs_.reverse(), "an array is of shape"),
        (lambda network: network.coefs_.pop(), "lacks a layer"),
        (lambda network: network.intercepts_.pop(), "lacks a layer"),
        (lambda network: set_value(network.coefs_[0], np.nan), "not finite"),
        (lambda network: setattr(network, "n_layers_", 10**9), "lacks a layer"),
        (lambda network: setattr(network, "activation", "evil"), "it cannot predict"),
        (lambda network: setattr(network, "out_activation_", "identity"), "gives no probabilities"),
        (lambda network: setattr(network, "_random_state", out_of_table()), "random numbers lead out of their table"),
    ],
)
def test_a_network_whose_layers_do_not_fit_is_not_sound(fitted, spoil, problem):
    model = fitted("ann")
    spoil(model[-1])
    refuses(model, "ann", problem)


@pytest.mark.parametrize(
    ("attribute", "value", "problem"),
    [
        ("coef_", np.zeros((N_CLASSES, N_FEATURES - 1)), "an array is of shape"),
        ("coef_", np.full((N_CLASSES, N_FEATURES), np.inf), "not finite"),
        ("intercept_", np.zeros(10**6), "an array is of shape"),
        ("classes_", np.arange(1, N_CLASSES + 1), "not those of the model"),
    ],
)
def test_a_regression_of_other_shapes_is_not_sound(fitted, attribute, value, problem):
    model = fitted("logistic")
    setattr(model[-1], attribute, value)
    refuses(model, "logistic", problem)


def out_of_table():
    """A generator whose next number would come from beyond its table."""
    generator = np.random.RandomState(0)
    state = generator.get_state(legacy=False)
    state["state"]["pos"] = 10**6
    generator.set_state(state)
    return generator
