"""A booster is validated before it is passed to XGBoost, which does not check indices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ubjson_bytes import length, text

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.safe_io.validate_xgboost import load_booster

N_FEATURES, N_CLASSES = 8, 5
# XGBoost reports some damage itself, with its own error class.
REFUSED = (ValueError, KeyError, TypeError, IndexError)


def state(estimator):
    return bytes(estimator.get_booster().__getstate__()["handle"])


@pytest.fixture(scope="module")
def estimator(fitted_classifiers):
    return fitted_classifiers["xgboost"].estimator


@pytest.fixture(scope="module")
def data(estimator):
    return state(estimator)


def replaced(data, old, new, *, after=b"Model"):
    """Returns the state with the first occurrence of `old` in its model replaced."""
    start = data.index(old, data.index(after))
    return data[:start] + new + data[start + len(old) :]


def with_value(data, name, value, dtype):
    """Returns the state with the first value of an array of the first tree replaced."""
    start = data.index(text(name) + b"[$", data.index(b"Model"))
    start += len(text(name)) + 3 + 1 + 9
    new = np.array(value).astype(dtype).tobytes()
    return data[:start] + new + data[start + len(new) :]


@pytest.mark.parametrize("sizes", [(), (N_FEATURES, N_CLASSES)])
def test_probabilities_are_unchanged(estimator, data, labelled_latents, sizes):
    latents = np.float32(labelled_latents[0])
    loaded = load_booster(data, *sizes)
    assert np.array_equal(loaded.predict_proba(latents), estimator.predict_proba(latents))
    assert loaded.classes_.tolist() == list(range(N_CLASSES))


def test_a_binary_classifier_loads():
    latents = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    fitted = LatentClassifier.fit("xgboost", latents, np.arange(40) % 2, n_labels=2).estimator
    loaded = load_booster(state(fitted), 3, 2)
    assert np.array_equal(loaded.predict_proba(latents), fitted.predict_proba(latents))


def test_a_loaded_booster_round_trips(data, labelled_latents):
    first = load_booster(data)
    second = load_booster(state(first), N_FEATURES, N_CLASSES)
    latents = np.float32(labelled_latents[0])
    assert np.array_equal(first.predict_proba(latents), second.predict_proba(latents))


def test_the_number_of_threads_is_not_read_from_the_file(data):
    old, new = (text("nthread") + b"S" + text(n) for n in ("0", "999999"))
    data = replaced(data, old, new, after=b"Config")
    assert '"nthread":"0"' in load_booster(data).get_booster().save_config()


@pytest.mark.parametrize("sizes", [(N_FEATURES + 1, N_CLASSES), (N_FEATURES, N_CLASSES + 1), (N_FEATURES, 2)])
def test_other_numbers_of_features_or_classes_are_refused(data, sizes):
    with pytest.raises(ValueError, match=r"another objective|features or classes differs"):
        load_booster(data, *sizes)


@pytest.mark.parametrize(
    ("name", "value", "dtype", "problem"),
    [
        ("left_children", 10**8, ">i4", "outside its tree"),
        ("left_children", -(10**8), ">i4", "outside its tree"),
        ("left_children", 0, ">i4", "outside its tree"),
        ("right_children", 10**8, ">i4", "outside its tree"),
        ("right_children", 1, ">i4", "wrong parent|outside its tree"),
        ("left_children", -1, ">i4", "a leaf has a child"),
        ("parents", 1, ">i4", "wrong parent"),
        ("split_indices", 10**8, ">i4", "feature index is out of bounds"),
        ("split_indices", -1, ">i4", "feature index is out of bounds"),
        ("split_indices", N_FEATURES, ">i4", "feature index is out of bounds"),
        ("split_conditions", np.nan, ">f4", "not finite"),
        ("split_conditions", np.inf, ">f4", "not finite"),
        ("split_type", 1, "u1", "categorical split"),
    ],
)
def test_a_node_with_an_invalid_index_or_value_is_refused(data, name, value, dtype, problem):
    with pytest.raises(ValueError, match=problem):
        load_booster(with_value(data, name, value, dtype), N_FEATURES, N_CLASSES)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            text("size_leaf_vector") + b"S" + text("1"),
            text("size_leaf_vector") + b"S" + text("1000000"),
            "vector leaves",
        ),
        (text("num_deleted") + b"S" + text("0"), text("num_deleted") + b"S" + text("5"), "size of a tree differs"),
        (text("num_nodes") + b"S", text("num_modes") + b"S", "size of a tree differs"),
        (text("num_trees") + b"S" + text("500"), text("num_trees") + b"S" + text("999"), "number of trees differs"),
        (
            text("num_parallel_tree") + b"S" + text("1"),
            text("num_parallel_tree") + b"S" + text("7"),
            "number of trees differs",
        ),
        (text("gbtree"), text("dart"), "not a gradient-boosted tree"),
        (text("multi:softprob"), text("rank:pairwise"), "another objective"),
        (text("feature_names") + b"[#" + length(0), text("feature_names") + b"[#" + length(1) + b"Z", "feature names"),
        (text("id") + b"i\0", text("id") + b"i\7", "wrong id"),
        (
            text("categories") + b"[$l#" + length(0),
            text("categories") + b"[$l#" + length(1) + bytes(4),
            "categorical splits",
        ),
    ],
)
def test_inconsistencies_that_xgboost_does_not_check_are_refused(data, old, new, problem):
    with pytest.raises(ValueError, match=problem):
        load_booster(replaced(data, old, new), N_FEATURES, N_CLASSES)


@settings(max_examples=100)
@given(position=st.floats(0, 1, exclude_max=True), value=st.sampled_from([0, 1, 127, 128, 255]))
def test_a_changed_byte_is_refused_or_harmless(data, labelled_latents, position, value):
    from xgboost.core import XGBoostError

    start = data.index(b"Model")
    changed = bytearray(data)
    changed[start + int(position * (len(data) - start))] = value
    try:
        loaded = load_booster(bytes(changed), N_FEATURES, N_CLASSES)
    except (*REFUSED, XGBoostError):
        return
    assert loaded.predict_proba(np.float32(labelled_latents[0])).shape == (len(labelled_latents[0]), N_CLASSES)
