"""The UBJSON reader reads what XGBoost writes, and never past the end of the data."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ubjson_bytes import length, text, write

from bc_sam.classifiers.safe_io.ubjson import UbjsonReader

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def as_python(value):
    """Converts numpy arrays to lists."""
    if isinstance(value, dict):
        return {key: as_python(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_python(inner) for inner in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def test_a_model_matches_xgboosts_json(fitted_classifiers):
    booster = fitted_classifiers["xgboost"].estimator.get_booster()
    ours = as_python(UbjsonReader(bytes(booster.save_raw("ubj"))).value())
    theirs = json.loads(booster.save_raw("json"))
    for model in (ours, theirs):
        for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
            for name in ("base_weights", "loss_changes", "split_conditions", "sum_hessian"):
                tree[name] = np.float32(tree[name]).tolist()
    assert ours == theirs


@given(plain)
def test_any_value_round_trips(value):
    data = write(value)
    reader = UbjsonReader(data)
    assert reader.value() == value
    assert reader.position == len(data)


@given(plain, st.floats(0, 1, exclude_max=True))
def test_a_truncated_value_is_an_error(value, share):
    data = write(value)
    with pytest.raises(ValueError, match=r"is truncated|is not a numeric type|is missing|has no length"):
        UbjsonReader(data[: int(share * len(data))]).value()


@given(st.binary(max_size=64))
def test_random_bytes_give_a_value_or_an_error(data):
    try:
        reader = UbjsonReader(data)
        reader.value()
        assert reader.position <= len(data)
    except ValueError:
        pass


@pytest.mark.parametrize("count", [-1, 2**62])
@pytest.mark.parametrize("opening", [b"S", b"[$d#", b"[#"])
def test_an_invalid_length_is_refused_without_allocating(opening, count):
    with pytest.raises(ValueError, match=r"is truncated|is not a numeric type|is negative"):
        UbjsonReader(opening + length(count)).value()


def test_deep_nesting_is_an_error():
    with pytest.raises(ValueError, match="nested too deeply"):
        UbjsonReader((b"[#" + length(1)) * 10_000).value()


def test_a_duplicate_key_is_an_error():
    with pytest.raises(ValueError, match="'a' occurs twice"):
        UbjsonReader(b"{" + text("a") + b"T" + text("a") + b"F}").value()
