"""What a fitted classifier says of itself is checked before compiled code believes it."""

import copy

import numpy as np
import pytest

from bc_sam.classifiers.fitting import CLASSIFIERS
from bc_sam.classifiers.safe_io.validate_sklearn import require_sound

N_FEATURES, N_CLASSES = 8, 5
REFUSED = (ValueError, TypeError, KeyError, IndexError)


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


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("sizes", [(), (N_FEATURES, N_CLASSES)])
def test_what_was_fitted_is_sound(fitted, name, sizes):
    require_sound(fitted(name), name, *sizes)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("sizes", [(N_FEATURES + 1, N_CLASSES), (N_FEATURES, N_CLASSES + 1), (N_FEATURES, 0)])
def test_it_must_be_of_the_models_latents_and_classes(fitted, name, sizes):
    with pytest.raises(REFUSED):
        require_sound(fitted(name), name, *sizes)


@pytest.mark.parametrize("name", ["rf", "svm_poly", "svm_rbf", "ann", "logistic"])
@pytest.mark.parametrize("other", ["rf", "svm_poly", "svm_rbf", "ann", "logistic"])
def test_one_kind_does_not_pass_for_another(fitted, name, other):
    if name != other:
        with pytest.raises(REFUSED):
            require_sound(fitted(name), other)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda model: set_node(model, "left_child", 10**6),
        lambda model: set_node(model, "right_child", -5),
        lambda model: set_node(model, "left_child", 0),
        lambda model: set_node(model, "feature", N_FEATURES),
        lambda model: set_node(model, "feature", -1),
        lambda model: set_node(model, "threshold", np.nan),
        lambda model: set_tree(model, node_count=10**9),
        lambda model: set_tree(model, node_count=0),
        lambda model: set_tree(model, node_count=-1),
        lambda model: set_tree(model, values=np.full_like(forest(model).tree_.value, np.inf)),
        lambda model: setattr(model, "n_classes_", 10**9),
        lambda model: setattr(model, "n_features_in_", N_FEATURES - 1),
        lambda model: setattr(model, "n_outputs_", 2),
        lambda model: setattr(model, "estimators_", []),
        lambda model: setattr(model, "estimators_", [model]),
        lambda model: setattr(model, "predict_proba", model),
        lambda model: setattr(forest(model), "n_classes_", 10**9),
        lambda model: setattr(forest(model), "n_features_in_", N_FEATURES - 1),
        lambda model: setattr(forest(model), "predict_proba", model),
    ],
)
def test_a_forest_that_leads_outside_is_not_sound(fitted, spoil):
    model = fitted("rf")
    spoil(model)
    with pytest.raises(REFUSED):
        require_sound(model, "rf", N_FEATURES, N_CLASSES)


@pytest.mark.parametrize("name", ["svm_poly", "svm_rbf"])
@pytest.mark.parametrize(
    ("attribute", "change"),
    [
        ("support_", lambda array: np.zeros(10**6, array.dtype)),
        ("support_", lambda array: array[:0]),
        ("support_vectors_", lambda array: array[:-1]),
        ("support_vectors_", lambda array: np.ascontiguousarray(array[:, :-1])),
        ("support_vectors_", lambda array: np.full_like(array, np.nan)),
        ("_n_support", lambda array: array * 1000),
        ("_n_support", lambda array: array[:-1]),
        ("_n_support", lambda array: array + np.array([-1000, 1000, 0, 0, 0], array.dtype)),
        ("_dual_coef_", lambda array: array[:1]),
        ("_dual_coef_", lambda array: array[:, :1]),
        ("_dual_coef_", lambda array: np.full_like(array, np.inf)),
        ("_intercept_", lambda array: array[:1]),
        ("_gamma", lambda _: float("nan")),
        ("kernel", lambda _: "precomputed"),
        ("_sparse", lambda _: True),
        ("_impl", lambda _: "epsilon_svr"),
        ("n_features_in_", lambda _: N_FEATURES - 1),
        ("classes_", lambda array: array[:-1]),
    ],
)
def test_an_svm_whose_arrays_disagree_is_not_sound(fitted, name, attribute, change):
    model = fitted(name)
    setattr(svm(model), attribute, change(getattr(svm(model), attribute)))
    with pytest.raises(REFUSED):
        require_sound(model, name, N_FEATURES, N_CLASSES)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda model: setattr(model[-1], "calibrated_classifiers_", model[-1].calibrated_classifiers_ * 2),
        lambda model: setattr(model[-1].calibrated_classifiers_[0], "calibrators", []),
        lambda model: setattr(model[-1].calibrated_classifiers_[0], "classes", np.arange(10**6)),
        lambda model: setattr(model[-1].calibrated_classifiers_[0], "estimator", model),
        lambda model: setattr(model[-1].calibrated_classifiers_[0].calibrators[0], "a_", np.nan),
        lambda model: setattr(model[0], "mean_", np.zeros(3)),
        lambda model: setattr(model[0], "scale_", np.full(N_FEATURES, np.nan)),
        lambda model: setattr(model, "steps", model.steps[::-1]),
        lambda model: setattr(model, "steps", model.steps[1:]),
    ],
)
def test_a_calibration_or_scaling_that_does_not_fit_is_not_sound(fitted, spoil):
    model = fitted("svm_rbf")
    spoil(model)
    with pytest.raises(REFUSED):
        require_sound(model, "svm_rbf", N_FEATURES, N_CLASSES)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda network: network.coefs_.reverse(),
        lambda network: network.coefs_.pop(),
        lambda network: network.intercepts_.pop(),
        lambda network: set_value(network.coefs_[0], np.nan),
        lambda network: setattr(network, "n_layers_", 10**9),
        lambda network: setattr(network, "activation", "evil"),
        lambda network: setattr(network, "out_activation_", "identity"),
        lambda network: setattr(network, "_random_state", out_of_table()),
    ],
)
def test_a_network_whose_layers_do_not_fit_is_not_sound(fitted, spoil):
    model = fitted("ann")
    spoil(model[-1])
    with pytest.raises(REFUSED):
        require_sound(model, "ann", N_FEATURES, N_CLASSES)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("coef_", np.zeros((N_CLASSES, N_FEATURES - 1))),
        ("coef_", np.full((N_CLASSES, N_FEATURES), np.inf)),
        ("intercept_", np.zeros(10**6)),
        ("classes_", np.arange(1, N_CLASSES + 1)),
    ],
)
def test_a_regression_of_other_shapes_is_not_sound(fitted, attribute, value):
    model = fitted("logistic")
    setattr(model[-1], attribute, value)
    with pytest.raises(REFUSED):
        require_sound(model, "logistic", N_FEATURES, N_CLASSES)


def out_of_table():
    """A generator whose next number would come from beyond its table."""
    generator = np.random.RandomState(0)
    state = generator.get_state(legacy=False)
    state["state"]["pos"] = 10**6
    generator.set_state(state)
    return generator
