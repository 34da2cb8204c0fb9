"""A booster is read and checked here before XGBoost, which would follow a wrong index anywhere, is shown it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ubjson_bytes import length, text

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.safe_io.validate_xgboost import load_booster

N_FEATURES, N_CLASSES = 8, 5
# XGBoost's C++ code speaks of some damage itself, by an error class of its own.
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


def with_number(data, name, value, dtype, place=0):
    """Returns the state with a number in an array of the first tree replaced."""
    at = data.index(text(name) + b"[$", data.index(b"Model"))
    at += len(text(name)) + 3 + 1 + 9 + place * np.dtype(dtype).itemsize
    number = np.array(value).astype(dtype).tobytes()
    return data[:at] + number + data[at + len(number) :]


@pytest.mark.parametrize("sizes", [(), (N_FEATURES, N_CLASSES)])
def test_it_says_the_same_as_before(estimator, data, labelled_latents, sizes):
    latents = np.float32(labelled_latents[0])
    loaded = load_booster(data, *sizes)
    assert np.array_equal(loaded.predict_proba(latents), estimator.predict_proba(latents))
    assert loaded.classes_.tolist() == list(range(N_CLASSES))


def test_two_classes_are_loaded_too():
    latents = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    fitted = LatentClassifier.fit("xgboost", latents, np.arange(40) % 2, n_labels=2).estimator
    loaded = load_booster(state(fitted), 3, 2)
    assert np.array_equal(loaded.predict_proba(latents), fitted.predict_proba(latents))


def test_what_was_loaded_loads_again(data, labelled_latents):
    first = load_booster(data)
    second = load_booster(state(first), N_FEATURES, N_CLASSES)
    latents = np.float32(labelled_latents[0])
    assert np.array_equal(first.predict_proba(latents), second.predict_proba(latents))


def test_the_threads_and_the_device_of_the_file_are_not_taken_over(data):
    for old, new in ((text("nthread") + b"S" + text("0"), text("nthread") + b"S" + text("999999")),):
        data = replaced(data, old, new, after=b"Config")
    assert '"nthread":"0"' in load_booster(data).get_booster().save_config()


@pytest.mark.parametrize("sizes", [(N_FEATURES + 1, N_CLASSES), (N_FEATURES, N_CLASSES + 1), (N_FEATURES, 2)])
def test_it_must_be_of_the_models_latents_and_classes(data, sizes):
    with pytest.raises(ValueError, match=r"trained for something else|other features or classes"):
        load_booster(data, *sizes)


@pytest.mark.parametrize(
    ("name", "value", "dtype", "problem"),
    [
        ("left_children", 10**8, ">i4", "leads out of its tree"),
        ("left_children", -(10**8), ">i4", "leads out of its tree"),
        ("left_children", 0, ">i4", "leads out of its tree"),
        ("right_children", 10**8, ">i4", "leads out of its tree"),
        ("right_children", 1, ">i4", "wrong parent|out of its tree"),
        ("left_children", -1, ">i4", "a leaf has a child"),
        ("parents", 1, ">i4", "wrong parent"),
        ("split_indices", 10**8, ">i4", "a feature that is not there"),
        ("split_indices", -1, ">i4", "a feature that is not there"),
        ("split_indices", N_FEATURES, ">i4", "a feature that is not there"),
        ("split_conditions", np.nan, ">f4", "no finite number"),
        ("split_conditions", np.inf, ">f4", "no finite number"),
        ("split_type", 1, "u1", "by categories"),
    ],
)
def test_a_node_that_leads_outside_is_refused(data, name, value, dtype, problem):
    with pytest.raises(ValueError, match=problem):
        load_booster(with_number(data, name, value, dtype), N_FEATURES, N_CLASSES)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (text("size_leaf_vector") + b"S" + text("1"), text("size_leaf_vector") + b"S" + text("1000000"), "vectors"),
        (text("num_deleted") + b"S" + text("0"), text("num_deleted") + b"S" + text("5"), "another size"),
        (text("num_nodes") + b"S", text("num_modes") + b"S", "another size"),
        (text("num_trees") + b"S" + text("500"), text("num_trees") + b"S" + text("999"), "more or fewer trees"),
        (text("num_parallel_tree") + b"S" + text("1"), text("num_parallel_tree") + b"S" + text("7"), "fewer trees"),
        (text("gbtree"), text("dart"), "no gradient-boosted trees"),
        (text("multi:softprob"), text("rank:pairwise"), "something else"),
        (text("feature_names") + b"[#" + length(0), text("feature_names") + b"[#" + length(1) + b"Z", "names its"),
        (text("id") + b"i\0", text("id") + b"i\7", "place of another"),
        (text("categories") + b"[$l#" + length(0), text("categories") + b"[$l#" + length(1) + bytes(4), "categories"),
    ],
)
def test_what_xgboost_would_take_on_trust_is_refused(data, old, new, problem):
    with pytest.raises(ValueError, match=problem):
        load_booster(replaced(data, old, new), N_FEATURES, N_CLASSES)


@settings(max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), value=st.sampled_from([0, 1, 127, 128, 255]))
def test_a_changed_byte_is_refused_or_does_no_harm(data, labelled_latents, place, value):
    from xgboost.core import XGBoostError

    start = data.index(b"Model")
    changed = bytearray(data)
    changed[start + int(place * (len(data) - start))] = value
    try:
        loaded = load_booster(bytes(changed), N_FEATURES, N_CLASSES)
    except (*REFUSED, XGBoostError):
        return
    assert loaded.predict_proba(np.float32(labelled_latents[0])).shape == (len(labelled_latents[0]), N_CLASSES)
