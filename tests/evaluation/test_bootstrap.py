"""Intervals cover the sampling of the held-out cells, and verdicts claim no more than that."""

import warnings

import numpy as np
import pytest
from example_evaluation import example_evaluation
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score

from bc_sam.config.model import BCSamConfig
from bc_sam.evaluation.bootstrap import (
    Comparison,
    Interval,
    compare,
    confusion_intervals,
    evaluation_intervals,
    explain_ends,
    resample,
)
from bc_sam.models.card import render_card

LABELS = ("w", "x", "y", "z")
confusions = hnp.arrays(np.int64, st.integers(2, 5).map(lambda k: (k, k)), elements=st.integers(0, 12))


def approx(value, low, high):
    return Interval(*(pytest.approx(bound, abs=1e-12) for bound in (value, low, high)))


def balanced_accuracy(true, predicted):
    """scikit-learn's, without its warning about predicted classes without cells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return balanced_accuracy_score(true, predicted)


@settings(max_examples=40)
@given(confusions)
def test_the_metrics_match_scikit_learn_and_intervals_are_ordered(confusion):
    assume((confusion.sum(axis=1) > 0).sum() > 1)
    true, predicted = (axis.repeat(confusion.ravel()) for axis in (i.ravel() for i in np.indices(confusion.shape)))
    intervals = confusion_intervals(confusion)
    present = np.unique(true)
    assert intervals["accuracy"].value == pytest.approx((true == predicted).mean())
    assert intervals["balanced accuracy"].value == pytest.approx(balanced_accuracy(true, predicted))
    assert intervals["macro F1"].value == pytest.approx(f1_score(true, predicted, labels=present, average="macro"))
    for interval in intervals.values():
        assert 0 <= interval.low <= interval.high <= 1


def test_with_one_class_it_matches_the_exact_binomial_interval():
    interval = confusion_intervals(np.array([[160, 40], [0, 0]]))["accuracy"]
    exact = binomtest(160, 200).proportion_ci(0.95)
    assert interval.low == pytest.approx(exact.low, abs=0.015)
    assert interval.high == pytest.approx(exact.high, abs=0.015)


def test_more_cells_give_a_narrower_interval():
    few, many = (confusion_intervals(n * np.array([[8, 2], [3, 7]]))["balanced accuracy"] for n in (1, 25))
    assert many.high - many.low < 0.3 * (few.high - few.low)
    assert few.value == many.value == pytest.approx(0.75)


def test_a_card_has_the_intervals_of_its_default_classifier():
    evaluation = example_evaluation(folds=1)
    intervals = evaluation_intervals(evaluation, "svm_rbf")
    assert [(pair.source, pair.target) for pair in intervals] == evaluation.domain_pairs
    config = BCSamConfig(base_inside=True, default_classifier="svm_rbf", classifiers={"svm_rbf": (0,)})
    card = render_card(config, evaluation)
    for pair in intervals:
        assert str(pair.metrics["accuracy"]) in card


def test_the_intervals_of_a_confusion_matrix_are_reproducible():
    intervals = confusion_intervals(np.array([[8, 2, 0], [3, 7, 1], [0, 0, 0]]))
    assert intervals["accuracy"] == approx(0.7142857142857143, 0.5238095238095238, 0.9047619047619048)
    assert intervals["balanced accuracy"] == approx(0.7181818181818, 0.5227272727273, 0.9045454545455)
    assert intervals["macro F1"] == approx(0.7309523809524, 0.5227272727273, 0.9045454545455)


@given(hnp.arrays(np.int64, st.integers(1, 6), elements=st.integers(0, 50)), st.integers(0, 2**32 - 1))
def test_a_bootstrap_sample_keeps_the_total_and_empty_categories(counts, seed):
    assume(counts.sum() > 0)
    drawn = resample(counts, np.random.default_rng(seed))
    assert (drawn.sum(axis=1) == counts.sum()).all()
    assert not drawn[:, counts == 0].any()
    assert drawn.mean(axis=0) == pytest.approx(counts, abs=1.5)


def predictions(true, share_correct, random):
    """Predictions with about this accuracy."""
    wrong = (true + random.integers(1, 4, len(true))) % 4
    return np.where(random.random(len(true)) < share_correct, true, wrong)


class TestComparison:
    @settings(max_examples=30)
    @given(st.integers(2, 60), st.floats(0, 1), st.integers(0, 2**32 - 1))
    def test_its_values_match_scikit_learn_and_intervals_are_ordered(self, n, share, seed):
        random = np.random.default_rng(seed)
        true = random.integers(0, 4, n)
        before, after = (predictions(true, share, random) for _ in range(2))
        result = compare("rf", true, before, after, random.integers(0, 9, n), LABELS)
        scores = [balanced_accuracy(true, predicted) for predicted in (before, after)]
        assert [result.before.value, result.after.value] == pytest.approx(scores)
        assert result.gain.value == pytest.approx(scores[1] - scores[0])
        for interval in (result.before, result.after):
            assert 0 <= interval.low <= interval.high <= 1
        assert result.gain.low <= result.gain.high

    def test_it_is_reproducible(self):
        random = np.random.default_rng(0)
        true = random.integers(0, 4, 60)
        before = np.where(random.random(60) < 0.5, true, (true + 1) % 4)
        after = np.where(random.random(60) < 0.8, true, (true + 1) % 4)
        result = compare("rf", true, before, after, random.integers(0, 9, 60), LABELS)
        assert result.before == approx(0.512468671679198, 0.41844511847801324, 0.6029842145191407)
        assert result.after == approx(0.637593984962406, 0.5488091322055139, 0.7380600052521008)
        assert result.gain == approx(0.12512531328320808, 0.02768647495229967, 0.21955506450071652)

    def test_it_has_the_cells_and_recall_of_each_class(self):
        true = np.array([0, 0, 0, 0, 2, 2])
        result = compare("rf", true, np.array([0, 0, 0, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 0]), np.arange(6), LABELS)
        assert result.per_class == {"w": (4, 0.75, 0.5), "y": (2, 0.0, 0.5)}

    def test_the_gain_is_paired(self):
        """Equal predictions have a gain of exactly 0, however uncertain each score is."""
        random = np.random.default_rng(0)
        true = random.integers(0, 4, 40)
        predicted = predictions(true, 0.5, random)
        result = compare("rf", true, predicted, predicted, np.arange(40) // 4, LABELS)
        assert result.after.high - result.after.low > 0.1
        assert (result.gain.value, result.gain.low, result.gain.high) == (0, 0, 0)

    def test_correlated_cells_of_a_slide_widen_the_interval(self):
        random = np.random.default_rng(1)
        true = np.tile(np.arange(4), 100)
        slide = np.repeat(np.arange(20), 20)
        good = random.random(20) < 0.5
        after = np.where(good[slide], true, (true + 1) % 4)
        together = compare("rf", true, after, after, slide, LABELS).after
        alone = compare("rf", true, after, after, np.arange(400), LABELS).after
        assert together.high - together.low > 2 * (alone.high - alone.low)

    def test_it_round_trips_through_a_file(self, tmp_path):
        true = np.tile(np.arange(4), 20)
        result = compare("rf", true, (true + 1) % 4, true, np.arange(80) // 4, LABELS)
        result.save(tmp_path / "comparison.json")
        assert Comparison.load(tmp_path / "comparison.json") == result


class TestVerdict:
    def test_a_large_gain_on_many_slides_is_conclusive_and_a_small_one_is_not(self):
        random = np.random.default_rng(0)
        true = np.tile(np.arange(4), 50)
        slides = np.arange(200) // 5
        before = predictions(true, 0.5, random)
        much_better, slightly_better = predictions(true, 0.9, random), before.copy()
        slightly_better[:3] = true[:3]
        assert compare("rf", true, before, much_better, slides, LABELS).verdict == "The new model is better."
        assert "not certain" in compare("rf", true, before, slightly_better, slides, LABELS).verdict
        assert "WORSE" in compare("rf", true, much_better, before, slides, LABELS).verdict

    def test_few_slides_are_inconclusive_whatever_their_number_of_cells(self):
        true = np.tile(np.arange(4), 50)
        result = compare("rf", true, (true + 1) % 4, true, np.arange(200) // 60, LABELS)
        assert "only 4 slides" in result.verdict

    def test_a_single_slide_is_inconclusive_with_an_unbounded_interval(self):
        true = np.tile(np.arange(4), 50)
        result = compare("rf", true, (true + 1) % 4, true, np.zeros(200), LABELS)
        assert (result.gain.low, result.gain.high) == (-1, 1)
        assert (result.after.low, result.after.high) == (0, 1)
        assert "a single slide" in result.verdict

    @pytest.mark.parametrize(
        ("groups", "known", "words"),
        [
            ([0, 0, 0, 0], True, "4 held-out cells of 1 slide"),
            ([0, 0, 1, 1], True, "4 held-out cells of 2 slides"),
            ([0, 1, 2, 3], False, "4 held-out images of unknown slides"),
        ],
    )
    def test_the_held_out_cells_are_described(self, groups, known, words):
        true = np.array([0, 1, 0, 1])
        assert compare("rf", true, true, true, np.array(groups), LABELS, slides_known=known).held_out == words

    def test_images_of_unknown_slides_are_not_counted_as_slides(self):
        true = np.tile(np.arange(2), 2)
        verdict = compare("rf", true, true, true, np.arange(4), LABELS, slides_known=False).verdict
        assert "only 4 independent images" in verdict

    def test_few_cells_of_a_class_are_inconclusive(self):
        true = np.array([0] * 60 + [1] * 3)
        assert "fewer than 10 x" in compare("rf", true, 1 - true, true, np.arange(63), LABELS).verdict


def test_intervals_that_end_at_their_estimate_are_explained():
    perfect = confusion_intervals(np.array([[20, 0], [0, 20]]))["accuracy"]
    assert "too narrow" in explain_ends([Interval(0.5, 0.4, 0.6), perfect])
    assert explain_ends([Interval(0.5, 0.4, 0.6)]) is None
