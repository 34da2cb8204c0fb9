import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers, restrict_probabilities
from bc_sam.classifiers.kinds import KINDS
from bc_sam.classifiers.skops_files import load_estimator, save_estimator
from bc_sam.config.labels import LABELS
from bc_sam.errors import BCSamError, ConfigError, DataError

kinds = pytest.mark.parametrize("name", KINDS)
N = len(LABELS)


@kinds
@settings(max_examples=8)
@given(
    counts=st.dictionaries(st.integers(0, N - 1), st.integers(1, 8), min_size=2),
    seed=st.integers(0, 2**32 - 1),
)
def test_probabilities_have_a_column_per_label_for_any_training_classes(name, counts, seed):
    labels = np.repeat(list(counts), list(counts.values()))
    random = np.random.default_rng(seed)
    classifier = LatentClassifier.fit(name, random.standard_normal((len(labels), 4)), labels, N)
    latents = 3 * random.standard_normal((20, 4))
    probabilities = classifier.predict_proba(latents)
    assert probabilities.shape == (20, N)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert classifier.classes.tolist() == sorted(counts)
    untrained = np.setdiff1d(np.arange(N), classifier.classes)
    assert (probabilities[:, untrained] == 0).all()
    assert np.array_equal(classifier.predict(latents), probabilities.argmax(axis=1))


@kinds
def test_it_learns_separable_classes(fitted_classifiers, labelled_latents, name):
    latents, labels = labelled_latents
    frequent = np.isin(labels, (0, 2, 3))
    predicted = fitted_classifiers[name].predict(latents[frequent])
    assert (predicted == labels[frequent]).mean() > 0.85


@kinds
def test_the_same_seed_gives_the_same_classifier(fitted_classifiers, labelled_latents, name):
    again = LatentClassifier.fit(name, *labelled_latents, N)
    np.testing.assert_array_equal(
        again.predict_proba(labelled_latents[0]), fitted_classifiers[name].predict_proba(labelled_latents[0])
    )


@kinds
def test_saving_and_loading_round_trips(fitted_classifiers, labelled_latents, tmp_path, name):
    fitted = fitted_classifiers[name]
    save_estimator(fitted.estimator, tmp_path / "classifier.skops")
    loaded = LatentClassifier(load_estimator(tmp_path / "classifier.skops", name), fitted.classes, fitted.n_labels)
    np.testing.assert_array_equal(loaded.predict_proba(labelled_latents[0]), fitted.predict_proba(labelled_latents[0]))


@given(
    st.lists(st.floats(0, 1, width=32), min_size=N, max_size=N).filter(lambda row: sum(row) > 0.1),
    st.sets(st.integers(0, N - 1), min_size=1),
)
def test_a_restriction_keeps_the_ranking_of_the_allowed_labels(row, allowed):
    before = np.array(row, np.float32)
    after = restrict_probabilities(before, np.array(sorted(allowed)))
    assert after.sum() == pytest.approx(1, abs=1e-5)
    assert not after[[label for label in range(N) if label not in allowed]].any()
    for one in allowed:
        for other in allowed:
            assert before[one] <= before[other] or after[one] >= after[other]


@kinds
def test_a_restriction_renormalizes_the_probabilities_and_can_be_lifted(labelled_latents, name):
    latents, labels = labelled_latents
    classifier = LatentClassifier.fit(name, latents, labels, N)
    before = classifier.predict_proba(latents)
    allowed = classifier.classes[:2].tolist()
    classifier.restrict_labels([*allowed, *(set(range(N)) - set(classifier.classes.tolist()))])
    np.testing.assert_allclose(classifier.predict_proba(latents), restrict_probabilities(before, np.array(allowed)))
    assert classifier.predict_proba(np.empty((0, 8))).shape == (0, N)
    classifier.restrict_labels(range(N))
    np.testing.assert_array_equal(classifier.predict_proba(latents), before)


@kinds
def test_weights_multiply_the_odds_of_labels_and_can_be_lifted(labelled_latents, name):
    latents, labels = labelled_latents
    classifier = LatentClassifier.fit(name, latents, labels, N)
    before = classifier.predict_proba(latents).astype(float)
    weights = np.ones(N)
    weights[classifier.classes[0]] = 5
    classifier.weigh_labels(weights)
    after = classifier.predict_proba(latents)
    assert after.dtype == np.float32
    np.testing.assert_allclose(after, before * weights / (before * weights).sum(axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(classifier.learned_proba(latents), before.astype(np.float32))
    classifier.weigh_labels(np.ones(N))
    np.testing.assert_array_equal(classifier.predict_proba(latents), before.astype(np.float32))


def test_of_the_allowed_labels_the_weighed_ones_are_predicted_more_often(labelled_latents):
    latents, labels = labelled_latents
    classifier = LatentClassifier.fit("logistic", latents, labels, N)
    one, other = classifier.classes[:2].tolist()
    classifier.restrict_labels([one, other])
    before = classifier.predict_proba(latents)
    classifier.weigh_labels(np.where(np.arange(N) == one, 3, 1))
    after = classifier.predict_proba(latents)
    np.testing.assert_allclose(after[:, one], 3 * before[:, one] / (3 * before[:, one] + before[:, other]), atol=1e-5)


def test_a_restriction_to_untrained_labels_is_an_error(labelled_latents):
    latents, labels = labelled_latents
    classifier = LatentClassifier.fit("logistic", latents[labels < 3], labels[labels < 3], N)
    with pytest.raises(ConfigError, match="trained on none"):
        classifier.restrict_labels([5])


@kinds
def test_empty_input_gives_empty_predictions(fitted_classifiers, name):
    assert fitted_classifiers[name].predict_proba(np.empty((0, 8))).shape == (0, N)
    assert fitted_classifiers[name].predict(np.empty((0, 8))).shape == (0,)


@kinds
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_embeddings_that_are_not_finite_get_no_name(fitted_classifiers, labelled_latents, name, bad):
    latents = labelled_latents[0][:3].copy()
    latents[1, 2] = bad
    for ask in (fitted_classifiers[name].predict_proba, fitted_classifiers[name].predict):
        with pytest.raises(DataError, match="1 of 3 embeddings are not finite, so these cells get no name"):
            ask(latents)


@kinds
def test_a_single_class_is_an_error(name):
    with pytest.raises(DataError, match=f"{name} needs labelled cells of at least two classes, but got 1"):
        LatentClassifier.fit(name, np.zeros((5, 3)), np.full(5, 4), N)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'knn'; choose from rf, svm_poly, xgboost, svm_rbf, ann, logistic"):
        LatentClassifier.fit("knn", np.zeros((4, 2)), np.array([0, 0, 1, 1]), N)


def test_without_xgboost_the_error_gives_the_install_command(monkeypatch, labelled_latents):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(BCSamError, match=r'pip install "bc_sam\[xgboost\]"'):
        LatentClassifier.fit("xgboost", *labelled_latents, N)


def test_several_are_fitted_in_the_given_order(labelled_latents):
    assert list(fit_classifiers(("logistic", "rf"), *labelled_latents, N)) == ["logistic", "rf"]
