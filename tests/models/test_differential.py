"""Shares add up to one, and confidence intervals have their nominal coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.models.differential import differential_count


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 500), max_size=5))
def test_shares_add_up_and_lie_in_their_intervals(counts):
    lines = differential_count(counts)
    if not sum(counts.values()):
        assert lines == []
        return
    assert {line.label: line.count for line in lines} == counts
    assert sum(line.share for line in lines) == pytest.approx(1)
    assert all(0 <= line.low <= line.share <= line.high <= 1 for line in lines)
    assert [line.count for line in lines] == sorted(counts.values(), reverse=True)


def test_intervals_have_nominal_coverage():
    drawn = np.random.default_rng(0).binomial(100, 0.2, size=400)
    held = [
        line.low <= 0.2 <= line.high
        for k in drawn
        for line in differential_count({"a": k, "b": 100 - k})[:2]
        if line.label == "a"
    ]
    assert 0.92 < np.mean(held) < 0.98


def test_published_wilson_intervals_are_reproduced():
    (line, _) = differential_count({"a": 8, "b": 2})
    assert (round(line.low, 3), round(line.high, 3)) == (0.490, 0.943)
