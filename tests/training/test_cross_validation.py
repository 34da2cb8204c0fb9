"""Cross-domain cross-validation: training and test sets, which never overlap."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bc_sam.config.arguments import ClassifierArguments
from bc_sam.errors import DataError
from bc_sam.evaluation.results import ALL
from bc_sam.training.cross_validation import LabelledLatents, ViewLatents, evaluate_fold, require_classes
from bc_sam.training.synthetic_cells import SyntheticCells

IDENTITY = {"classifier": "rf", "source": "a", "target": "b", "fold": 0, "n_train": 9}
LOGISTIC = ClassifierArguments(names=("logistic",), default="logistic")
NAMES = ("w", "x", "y", "z")
probabilities = hnp.arrays(float, st.tuples(st.integers(1, 40), st.just(4)), elements=st.floats(0.01, 1)).map(
    lambda values: values / values.sum(axis=1, keepdims=True)
)


@st.composite
def cells(draw):
    """Cells of one to three domains in three folds, with and without a label."""
    domain_names = ("north", "south", "east")[: draw(st.integers(1, 3))]
    n = draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return LabelledLatents(
        latents=random.standard_normal((n, 3)).astype(np.float32),
        labels=random.integers(-1, len(NAMES), n),
        domains=random.integers(0, len(domain_names), n),
        folds=random.integers(0, 3, n),
        domain_names=domain_names,
        label_names=NAMES,
    )


class TestRows:
    @given(cells(), st.integers(0, 2), st.sampled_from(["strict", "paper"]))
    def test_training_and_test_cells_of_a_domain_are_disjoint(self, cells, fold, protocol):
        for source in (*cells.domain_names, ALL):
            train = cells.train_rows(source, fold)
            for target in cells.domain_names:
                assert not set(train) & set(cells.test_rows(source, target, fold, protocol))

    @given(cells(), st.sampled_from(["strict", "paper"]))
    def test_only_labelled_cells_of_the_named_domain_are_used(self, cells, protocol):
        for d, domain in enumerate(cells.domain_names):
            for rows in (cells.train_rows(domain, 0), cells.test_rows(domain, domain, 0, protocol)):
                assert (cells.labels[rows] >= 0).all()
                assert (cells.domains[rows] == d).all()

    @given(cells(), st.integers(0, 2))
    def test_the_strict_protocol_tests_the_test_fold_only(self, cells, fold):
        for target in cells.domain_names:
            for source in (*cells.domain_names, ALL):
                assert (cells.folds[cells.test_rows(source, target, fold, "strict")] == fold).all()
        assert (cells.folds[cells.train_rows(ALL, fold)] != fold).all()

    @given(cells(), st.integers(0, 2))
    def test_the_paper_protocol_tests_other_domains_whole(self, cells, fold):
        for d, target in enumerate(cells.domain_names):
            whole = np.flatnonzero((cells.domains == d) & (cells.labels >= 0))
            held_out = whole[cells.folds[whole] == fold]
            for source in (*cells.domain_names, ALL):
                expected = held_out if source in (target, ALL) else whole
                assert np.array_equal(cells.test_rows(source, target, fold, "paper"), expected)

    @given(cells())
    def test_every_labelled_cell_is_tested_in_exactly_one_fold(self, cells):
        tested = [cells.test_rows(ALL, target, fold, "strict") for target in cells.domain_names for fold in range(3)]
        assert sorted(np.concatenate(tested)) == np.flatnonzero(cells.labels >= 0).tolist()

    def test_a_domain_without_labels_is_not_a_source(self):
        labels, domains = np.array([0, 1, -1, -1]), np.array([0, 0, 1, 1])
        cells = LabelledLatents(np.zeros((4, 2)), labels, domains, np.zeros(4), ("north", "south"), NAMES)
        assert cells.sources("strict") == ["north"]


def separable(labels, domains, folds):
    """Cells with linearly separable latents."""
    latents = 5 * np.eye(len(NAMES), dtype=np.float32)[labels]
    return LabelledLatents(latents, labels, domains, folds, ("north", "south"), NAMES)


class TestEvaluateFold:
    def test_every_source_is_tested_on_every_target(self):
        labels = np.tile([0, 1, 2, 3], 12)
        cells = separable(labels, np.repeat([0, 1], 24), np.tile(np.repeat([0, 1, 2], 4), 4))
        results, classifiers = evaluate_fold(cells, 1, "strict", LOGISTIC)
        pairs = [(result.source, result.target) for result in results]
        assert pairs == [(source, target) for source in ("north", "south", ALL) for target in ("north", "south")]
        assert all(result.accuracy == 1 and result.fold == 1 and result.n_test == 8 for result in results)
        assert [result.n_train for result in results] == [16, 16, 16, 16, 32, 32]
        assert np.array_equal(classifiers["logistic"].predict(cells.latents), labels)

    def test_labels_are_weighed(self):
        labels = np.tile([0, 1, 2, 3], 12)
        cells = separable(labels, np.repeat([0, 1], 24), np.tile(np.repeat([0, 1, 2], 4), 4))
        weighed = replace(LOGISTIC, label_weights={"x": 1000, "y": 0.001})
        results, classifiers = evaluate_fold(cells, 1, "strict", weighed)
        assert classifiers["logistic"].label_weights.tolist() == pytest.approx([1, 1000, 0.001, 1])
        assert all(result.accuracy < 1 for result in results)

    def test_a_class_of_one_domain_is_never_predicted_by_the_other(self):
        labels = np.array([0, 1, 0, 1, 0, 1, 2, 0, 1, 2])
        cells = separable(labels, np.array([0] * 4 + [1] * 6), np.array([0, 0, 1, 1, 0, 0, 0, 1, 1, 1]))
        results, _ = evaluate_fold(cells, 0, "strict", LOGISTIC)
        missing = {(result.source, result.target): result.missing for result in results}
        assert missing.pop(("north", "south")) == ["y"]
        assert not any(missing.values())
        to_south = next(result for result in results if (result.source, result.target) == ("north", "south"))
        assert (to_south.accuracy, to_south.common_accuracy) == (2 / 3, 1)

    def test_targets_without_cells_in_the_fold_are_skipped(self):
        cells = separable(np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1, 1]))
        results, _ = evaluate_fold(cells, 0, "strict", LOGISTIC)
        assert {result.target for result in results} == {"north"}

    def test_synthetic_cells_only_train_the_source_of_all_domains(self):
        """Class 3 occurs only among the synthetic cells."""
        cells = separable(np.tile([0, 1], 8), np.repeat([0, 1], 8), np.tile([0, 0, 1, 1], 4))
        labels = np.array([0, 3, 3])
        with_them = replace(cells, synthetic=SyntheticCells(5 * np.eye(4, dtype=np.float32)[labels], labels))
        results, classifiers = evaluate_fold(with_them, 0, "strict", LOGISTIC)
        plain, _ = evaluate_fold(cells, 0, "strict", LOGISTIC)
        identities = [[(r.source, r.target, r.n_train, r.n_test) for r in found] for found in (results, plain)]
        assert identities[0] == identities[1]
        assert classifiers["logistic"].classes.tolist() == [0, 1, 3]
        assert with_them.training_set("north", np.array([2, 3]))[1].tolist() == [0, 1]
        assert with_them.training_set(ALL, np.array([2, 3]))[1].tolist() == [0, 1, 0, 3, 3]

    def test_classifiers_are_trained_on_the_views_of_the_training_cells_alone(self):
        """The cells themselves have swapped labels, and so do the views of cells held out."""
        labels = np.tile([0, 1], 12)
        cells = separable(labels, np.repeat([0, 1], 12), np.tile(np.repeat([0, 1, 2], 2), 4))
        cells = replace(cells, latents=cells.latents[:, [1, 0, 2, 3]])
        rows = np.repeat(np.arange(24), 2)
        place = np.where(cells.folds[rows] == 0, 1 - labels[rows], labels[rows])
        views = ViewLatents(5 * np.eye(4, dtype=np.float32)[place], rows)
        results, classifiers = evaluate_fold(replace(cells, views=views), 0, "strict", LOGISTIC)
        assert {result.accuracy for result in results} == {0.0}  # cells look like the other class
        assert np.array_equal(classifiers["logistic"].predict(5 * np.eye(4)[:2]), [0, 1])

    def test_the_training_set_has_the_views_of_the_given_cells_only(self):
        labels = np.array([0, 1, 2, 3])
        cells = separable(labels, np.array([0, 0, 1, 1]), np.zeros(4, int))
        views = ViewLatents(np.arange(12, dtype=np.float32).reshape(6, 2), np.array([3, 0, 1, 3, 2, 0]))
        latents, of_views = replace(cells, views=views).training_set("north", np.array([0, 3]))
        assert latents[:, 0].tolist() == [0, 2, 6, 10]
        assert of_views.tolist() == [3, 0, 3, 0]

    def test_synthetic_cells_are_added_to_views(self):
        cells = separable(np.array([0, 1]), np.array([0, 1]), np.zeros(2, int))
        views = ViewLatents(np.ones((1, 4), np.float32), np.array([1]))
        synthetic = SyntheticCells(np.zeros((2, 4), np.float32), np.array([2, 3]))
        latents, labels = replace(cells, views=views, synthetic=synthetic).training_set(ALL, np.array([0, 1]))
        assert latents.sum(axis=1).tolist() == [4, 0, 0]
        assert labels.tolist() == [1, 2, 3]

    def test_unlabelled_cells_are_rejected(self):
        cells = LabelledLatents(np.zeros((3, 2)), np.full(3, -1), np.zeros(3), np.arange(3), ("north",), NAMES)
        with pytest.raises(DataError, match="No image has a label"):
            evaluate_fold(cells, 0, "strict", LOGISTIC)


def test_a_source_whose_training_cells_are_of_one_class_is_named_before_training():
    cells = LabelledLatents(
        np.zeros((6, 2), np.float32),
        labels=np.array([0, 1, 0, 1, 2, 3]),
        domains=np.array([0, 0, 0, 0, 1, 1]),
        folds=np.array([0, 0, 1, 1, 0, 1]),
        domain_names=("north", "south"),
        label_names=NAMES,
    )
    with pytest.raises(DataError, match=r"south has 1 labelled training cells, z only, with fold 0 held out"):
        require_classes(cells, 0, "strict")
    require_classes(replace(cells, folds=np.array([0, 0, 1, 1, 2, 2])), 0, "strict")
    require_classes(cells, 0, "leave-one-out")
