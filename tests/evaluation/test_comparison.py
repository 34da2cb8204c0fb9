"""Better is only what chance does not explain, and cells of one slide are not independent."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from bc_sam.evaluation.comparison import Comparison, compare
from bc_sam.evaluation.tables import render_comparisons

LABELS = ("w", "x", "y", "z")


def predictions(true, share_right, random):
    """Predictions of which about such a share is right."""
    wrong = (true + random.integers(1, 4, len(true))) % 4
    return np.where(random.random(len(true)) < share_right, true, wrong)


@settings(max_examples=30)
@given(st.integers(2, 60), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_values_are_scikit_learns_and_lie_in_their_intervals(n, share, seed):
    random = np.random.default_rng(seed)
    true = random.integers(0, 4, n)
    before, after = (predictions(true, share, random) for _ in range(2))
    result = compare("rf", true, before, after, random.integers(0, 9, n), LABELS)
    for interval, named in ((result.before, before), (result.after, after)):
        right = [(named[true == label] == label).mean() for label in np.unique(true)]
        assert interval.value == pytest.approx(np.mean(right))
        assert 0 <= interval.low <= interval.high <= 1
    assert result.gain.value == pytest.approx(result.after.value - result.before.value)
    assert sum(n for n, _, _ in result.per_class.values()) == n


def test_a_large_gain_on_many_slides_is_certain_and_a_small_one_is_not():
    random = np.random.default_rng(0)
    true = np.tile(np.arange(4), 50)
    slides = np.arange(200) // 5
    before = predictions(true, 0.5, random)
    much, little = predictions(true, 0.9, random), before.copy()
    little[:3] = true[:3]
    assert compare("rf", true, before, much, slides, LABELS).verdict == "The new model is better."
    assert "not certain" in compare("rf", true, before, little, slides, LABELS).verdict
    assert "WORSE" in compare("rf", true, much, before, slides, LABELS).verdict


def test_few_slides_cannot_tell_however_many_cells_they_have():
    true = np.tile(np.arange(4), 50)
    result = compare("rf", true, (true + 1) % 4, true, np.arange(200) // 60, LABELS)
    assert "only 4 slides" in result.verdict


def test_a_single_slide_tells_nothing():
    true = np.tile(np.arange(4), 50)
    result = compare("rf", true, (true + 1) % 4, true, np.zeros(200), LABELS)
    assert (result.gain.low, result.gain.high) == (-1, 1)
    assert (result.after.low, result.after.high) == (0, 1)
    assert "a single slide" in result.verdict


def test_few_cells_of_a_class_cannot_tell():
    true = np.array([0] * 60 + [1] * 3)
    assert "fewer than 10 x" in compare("rf", true, 1 - true, true, np.arange(63), LABELS).verdict


def test_cells_of_one_slide_that_go_together_make_the_interval_wider():
    random = np.random.default_rng(1)
    true = np.tile(np.arange(4), 100)
    slide = np.repeat(np.arange(20), 20)
    good = random.random(20) < 0.5
    after = np.where(good[slide], true, (true + 1) % 4)
    together = compare("rf", true, after, after, slide, LABELS).after
    alone = compare("rf", true, after, after, np.arange(400), LABELS).after
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_it_survives_a_file_and_reads_as_a_table(tmp_path):
    true = np.tile(np.arange(4), 20)
    result = compare("rf", true, (true + 1) % 4, true, np.arange(80) // 4, LABELS)
    result.save(tmp_path / "comparison.json")
    assert Comparison.load(tmp_path / "comparison.json") == result
    assert balanced_accuracy_score(true, true) == result.after.value
    table = render_comparisons([replace(result, classifier="ann"), result], "rf")
    assert "80 cells of 20 slides" in table
    assert table.endswith("rf: The new model is better.")
