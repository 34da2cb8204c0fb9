import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics
from sklearn.calibration import calibration_curve

from bc_sam.config.arguments import ClassifierArguments
from bc_sam.evaluation.metrics import dice, dice_by_domain, reliability, score
from bc_sam.evaluation.results import Evaluation
from bc_sam.training.cross_validation import dice_of_rows

IDENTITY = {"classifier": "rf", "source": "a", "target": "b", "fold": 0, "n_train": 9}
LOGISTIC = ClassifierArguments(names=("logistic",), default="logistic")
NAMES = ("w", "x", "y", "z")


def one_hot(predicted):
    """One-hot probabilities."""
    return np.eye(4)[predicted]


class TestScore:
    @given(hnp.arrays(int, st.tuples(st.just(2), st.integers(1, 30)), elements=st.integers(0, 3)))
    def test_its_metrics_match_scikit_learn(self, columns):
        true, predicted = columns
        present = np.unique(true)
        result = score(one_hot(predicted), true, np.arange(4), NAMES, **IDENTITY)
        assert result.n_test == len(true)
        assert result.accuracy == pytest.approx(metrics.accuracy_score(true, predicted))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about predicted classes without cells
            balanced = metrics.balanced_accuracy_score(true, predicted)
        assert result.balanced_accuracy == pytest.approx(balanced)
        f1 = metrics.f1_score(true, predicted, labels=present, average="macro", zero_division=0)
        assert result.macro_f1 == pytest.approx(f1)
        assert result.common_accuracy == result.accuracy
        assert result.missing == []
        assert np.array_equal(result.confusion, metrics.confusion_matrix(true, predicted, labels=range(4)))

    def test_classes_that_the_source_lacks_are_named_and_count_as_wrong(self):
        true, predicted = np.array([0, 0, 1, 3]), np.array([0, 1, 1, 1])
        result = score(one_hot(predicted), true, np.array([0, 1]), NAMES, **IDENTITY)
        assert result.missing == ["z"]
        assert result.accuracy == 2 / 4
        assert result.balanced_accuracy == pytest.approx((1 / 2 + 1 + 0) / 3)
        assert result.common_accuracy == 2 / 3

    def test_without_a_common_class_accuracy_is_zero(self):
        result = score(one_hot(np.array([0, 0])), np.array([1, 2]), np.array([0]), NAMES, **IDENTITY)
        assert (result.accuracy, result.common_accuracy, result.missing) == (0, 0, ["x", "y"])


class TestDice:
    @settings(max_examples=50)
    @given(hnp.arrays(bool, (2, 3, 4, 5)))
    def test_it_matches_the_f1_score_and_is_symmetric(self, masks):
        predicted, annotated = masks
        for value, a, b in zip(dice(predicted, annotated), predicted, annotated, strict=True):
            expected = metrics.f1_score(a.ravel(), b.ravel(), zero_division=1)
            assert value == pytest.approx(expected)
        assert np.array_equal(dice(predicted, annotated), dice(annotated, predicted))
        assert (dice(annotated, annotated) == 1).all()

    @pytest.mark.parametrize("n", [0, 1, 600])
    def test_it_is_the_same_when_computed_in_batches(self, n):
        predicted, annotated = np.random.default_rng(0).random((2, 700, 4, 5)) > 0.5
        rows = np.random.default_rng(1).permutation(700)[:n]
        assert np.array_equal(
            dice_of_rows(predicted, annotated.astype(np.uint8), rows), dice(predicted[rows], annotated[rows])
        )

    def test_it_is_summarized_per_domain(self):
        annotated = np.ones((3, 2, 2), dtype=bool)
        predicted = annotated.copy()
        predicted[1, 0] = False
        values = dice(predicted, annotated)
        results = dice_by_domain(values, np.array([2, 2, 0]), ("a", "b", "c"), fold=4)
        assert [(r.domain, r.fold, r.n) for r in results] == [("a", 4, 1), ("c", 4, 2)]
        assert results[1].mean == pytest.approx((1 + 2 / 3) / 2)
        assert results[1].std == pytest.approx(1 / 6)


probabilities = hnp.arrays(float, st.tuples(st.integers(1, 40), st.just(4)), elements=st.floats(0.01, 1)).map(
    lambda values: values / values.sum(axis=1, keepdims=True)
)


class TestReliability:
    @given(probabilities, st.integers(0, 2**32 - 1))
    def test_every_cell_is_in_the_bin_of_its_confidence(self, values, seed):
        true = np.random.default_rng(seed).integers(0, 4, len(values))
        bins = reliability(values, true)
        assert sum(n for n, _, _ in bins) == len(values)
        for index, (n, confidence, accuracy) in enumerate(bins):
            assert n == 0 or index / 10 - 1e-9 <= confidence <= (index + 1) / 10 + 1e-9
            assert 0 <= accuracy <= 1
        n_correct = sum(n * accuracy for n, _, accuracy in bins)
        assert n_correct == pytest.approx((values.argmax(axis=1) == true).sum())

    @given(probabilities, st.integers(0, 2**32 - 1))
    def test_non_empty_bins_match_scikit_learn(self, values, seed):
        confidence = values.max(axis=1)
        assume((np.abs(10 * confidence - np.round(10 * confidence)) > 1e-6).all())  # assigns edges to the lower bin
        true = np.random.default_rng(seed).integers(0, 4, len(values))
        accuracies, confidences = calibration_curve(values.argmax(axis=1) == true, confidence, n_bins=10)
        bins = [(mean, accuracy) for n, mean, accuracy in reliability(values, true) if n]
        np.testing.assert_allclose(bins, np.column_stack([confidences, accuracies]))

    @given(probabilities, probabilities, st.integers(0, 2**32 - 1))
    def test_pooled_folds_equal_one_large_fold(self, first, second, seed):
        values = np.concatenate([first, second])
        true = np.random.default_rng(seed).integers(0, 4, len(values))
        folds = evaluation_of((first, true[: len(first)]), (second, true[len(first) :]))
        whole = evaluation_of((values, true))
        np.testing.assert_allclose(folds.reliability("rf", "a", "b"), whole.reliability("rf", "a", "b"), atol=1e-9)
        error = folds.calibration_error("rf", "a", "b")
        assert error == pytest.approx(whole.calibration_error("rf", "a", "b"))
        assert 0 <= error <= 1

    def test_an_empty_bin_is_all_zeros(self):
        bins = reliability(np.array([[0.75, 0.25]]), np.array([0]))
        assert bins[7] == (1, 0.75, 1)
        assert {values for index, values in enumerate(bins) if index != 7} == {(0, 0, 0)}

    def test_calibrated_probabilities_have_a_small_error(self):
        random = np.random.default_rng(0)
        confidence = random.uniform(0.5, 1, 20_000)
        values = np.column_stack([confidence, 1 - confidence])
        true = (random.random(20_000) > confidence).astype(int)
        assert evaluation_of((values, true)).calibration_error("rf", "a", "b") < 0.02

    @given(st.lists(st.sampled_from([(5, 0.6), (4, 0.75), (10, 0.9), (3, 1.0)]), min_size=1))
    def test_the_error_is_zero_where_accuracy_equals_confidence(self, groups):
        confidence = np.repeat([value for _, value in groups], [n for n, _ in groups])
        true = np.concatenate([np.arange(n) >= round(n * value) for n, value in groups]).astype(int)
        values = np.column_stack([confidence, 1 - confidence])
        assert evaluation_of((values, true)).calibration_error("rf", "a", "b") == pytest.approx(0)

    def test_always_confidently_wrong_has_an_error_of_one(self):
        wrong = np.eye(2)[[0, 0, 1]], np.array([1, 1, 0])
        assert evaluation_of(wrong).calibration_error("rf", "a", "b") == 1


def evaluation_of(*folds):
    """An evaluation whose folds have the given probabilities and true labels."""
    pairs = [
        score(values, true, np.arange(4), NAMES, **IDENTITY | {"fold": i}) for i, (values, true) in enumerate(folds)
    ]
    return Evaluation("strict", list(NAMES), ["a", "b"], 0, len(folds), pairs)
