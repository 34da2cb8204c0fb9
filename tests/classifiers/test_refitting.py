"""Refitting on stored and new cells, and its cross-validation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.classifiers.refitting import MAX_WEIGHT, class_weights, cross_validate, refit


class TestClassWeights:
    @given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), min_size=1, max_size=20))
    def test_old_and_new_cells_are_balanced_within_each_class(self, old, new):
        old, new = np.array(old), np.array(new)
        weights = class_weights(old, new)
        for label in np.unique(new):
            (weight,) = set(weights[new == label])
            n_old, n_new = (old == label).sum(), (new == label).sum()
            assert 1 <= weight <= MAX_WEIGHT
            if weight < MAX_WEIGHT:
                assert weight == 1 or weight * n_new <= n_old < (weight + 1) * n_new


@pytest.fixture
def stored():
    """Classes 0 and 1 of a laboratory, around 0 and 4, and a cell without a label."""
    rng = np.random.default_rng(0)
    labels = np.array([*[0, 1] * 30, -1])
    return ReferenceLatents(
        (rng.normal(size=(61, 3)) + 4 * labels[:, None]).astype(np.float32), labels, np.zeros(61, np.int64)
    )


def new_cells(n=20):
    """Classes 0 and 2 of another laboratory: class 0 lies where the stored cells of class 1 do."""
    rng = np.random.default_rng(1)
    labels = np.tile([0, 2], n // 2)
    return (rng.normal(scale=0.5, size=(n, 3)) + 4 + 6 * (labels == 2)[:, None]).astype(np.float32), labels


def test_new_cells_are_learned_and_stored_classes_are_kept(stored):
    cells, labels = new_cells()
    classifier = refit(("logistic",), stored, cells, labels, n_labels=3)["logistic"]
    assert classifier.classes.tolist() == [0, 1, 2]
    assert (classifier.predict(cells)[labels == 2] == 2).all()


class TestCrossValidate:
    def test_every_cell_is_judged_once_by_a_classifier_that_did_not_see_it(self):
        cells, labels = new_cells()
        fitted = []

        def fit(embeddings, given):
            fitted.append((embeddings, given))
            return LatentClassifier.fit("logistic", embeddings, given, 3)

        probabilities = cross_validate(fit, cells, labels, n_folds=4)
        assert probabilities.shape == (20, 3)
        assert len(fitted) == 4
        held_out = [set(map(tuple, cells)) - set(map(tuple, embeddings)) for embeddings, _ in fitted]
        assert sorted(cell for fold in held_out for cell in fold) == sorted(map(tuple, cells))
        for embeddings, seen in fitted:
            assert len(embeddings) == 15
            assert abs((seen == 0).sum() - (seen == 2).sum()) <= 1  # stratified
            rows = [i for i, cell in enumerate(cells) if tuple(cell) not in set(map(tuple, embeddings))]
            again = LatentClassifier.fit("logistic", embeddings, seen, 3).predict_proba(cells[rows])
            assert np.allclose(probabilities[rows], again)

    def test_labels_at_random_are_not_learned(self):
        """A measure on the cells that were learned would be near 100 %."""
        cells = np.random.default_rng(2).normal(size=(60, 3)).astype(np.float32)
        labels = np.random.default_rng(3).integers(0, 2, 60)
        named = cross_validate(lambda x, y: LatentClassifier.fit("rf", x, y, 2), cells, labels, 5).argmax(axis=1)
        assert (named == labels).mean() < 0.75
