import numpy as np
import pytest
from example_evaluation import example_evaluation
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from bc_sam.config.model import BCSamConfig
from bc_sam.evaluation.bootstrap import confusion_intervals, evaluation_intervals
from bc_sam.models.card import render_card

confusions = hnp.arrays(np.int64, st.integers(2, 5).map(lambda k: (k, k)), elements=st.integers(0, 12))


@settings(max_examples=40)
@given(confusions)
def test_the_figures_are_those_of_the_cells_and_lie_between_their_limits(confusion):
    assume((confusion.sum(axis=1) > 0).sum() > 1)
    true, named = (axis.repeat(confusion.ravel()) for axis in (i.ravel() for i in np.indices(confusion.shape)))
    figures = confusion_intervals(confusion)
    present = np.unique(true)
    assert figures["accuracy"].value == pytest.approx((true == named).mean())
    recalls = [(named[true == label] == label).mean() for label in present]
    assert figures["balanced accuracy"].value == pytest.approx(np.mean(recalls))
    assert figures["macro F1"].value == pytest.approx(f1_score(true, named, labels=present, average="macro"))
    for figure in figures.values():
        assert 0 <= figure.low <= figure.high <= 1


def test_with_one_class_it_agrees_with_the_exact_interval_of_a_share():
    figure = confusion_intervals(np.array([[160, 40], [0, 0]]))["accuracy"]
    exact = binomtest(160, 200).proportion_ci(0.95)
    assert figure.low == pytest.approx(exact.low, abs=0.015)
    assert figure.high == pytest.approx(exact.high, abs=0.015)


def test_more_cells_make_it_narrower():
    few, many = (confusion_intervals(n * np.array([[8, 2], [3, 7]]))["balanced accuracy"] for n in (1, 25))
    assert many.high - many.low < 0.3 * (few.high - few.low)
    assert few.value == many.value == pytest.approx(0.75)


def test_a_card_tells_them_of_the_classifier_that_it_speaks_of():
    evaluation = example_evaluation(folds=1)
    found = evaluation_intervals(evaluation, "svm_rbf")
    assert [(one.source, one.target) for one in found] == evaluation.directions
    config = BCSamConfig(base_inside=True, default_classifier="svm_rbf", classifiers={"svm_rbf": (0,)})
    card = render_card(config, evaluation)
    for one in found:
        assert str(one.figures["accuracy"]) in card
