"""Stage 3 of an adaptation: training data of the classifiers, and their comparison."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_model import LATENT_DIM, small_model

from bc_sam.config.arguments import AdaptationArguments
from bc_sam.data.store import CellTable
from bc_sam.training.adapted_classifiers import AdaptedClassifiers, NewLatents

N = 40
CLASSES = (0, 3)


def new_latents(labels=None, held_out=None, slides=8):
    """Two well-separated classes, five cells per slide; the first two slides are held out."""
    labels = np.tile(CLASSES, N // 2) if labels is None else labels
    held_out = np.arange(N) < 10 if held_out is None else held_out
    after = np.eye(LATENT_DIM, dtype=np.float32)[labels.clip(0) % LATENT_DIM] * 9
    after += np.random.default_rng(0).standard_normal(after.shape).astype(np.float32)
    groups = [f"slide {row * slides // N}" for row in range(N)]
    empty = {name: [] for name in ("files", "fingerprints", "digests", "has_mask", "sizes", "unreadable")}
    table = CellTable(0, ["ours"], [0] * N, labels.tolist(), groups, **empty)
    return NewLatents(np.zeros_like(after), after, labels, held_out, table)


def fit(latents, model=None, **arguments):
    model = model or small_model()
    return AdaptedClassifiers.fit(model, model.reference, latents, AdaptationArguments(**arguments))


class TestTrainingLabels:
    def test_held_out_and_unlabelled_cells_have_none(self):
        labels = np.tile([0, 3, -1, 3], N // 4)
        latents = new_latents(labels)
        shown = latents.training_labels(None, seed=0)
        assert (shown[latents.held_out] == -1).all()
        assert np.array_equal(shown[~latents.held_out], labels[~latents.held_out])

    @given(st.integers(0, 20), st.integers(0, 9))
    def test_each_class_has_at_most_the_given_number(self, most, seed):
        latents = new_latents()
        shown = latents.training_labels(most, seed)
        assert [(shown == label).sum() for label in CLASSES] == [min(most, 15)] * 2
        assert np.array_equal(shown[shown >= 0], latents.labels[shown >= 0])

    def test_smaller_selections_are_subsets(self):
        latents = new_latents()
        few, many = (latents.training_labels(most, seed=1) >= 0 for most in (3, 7))
        assert (many | ~few).all()


def test_each_cell_of_unknown_slide_is_a_separate_slide():
    latents = new_latents()
    latents.table.groups[:] = ["a", "a", None, None] + ["b"] * (N - 4)
    slides = latents.slides()
    assert slides[0] == slides[1]
    assert len(set(slides[2:4])) == 2
    assert len(set(slides)) == 4


class TestFit:
    def test_without_labels_the_classifiers_are_unchanged(self):
        model = small_model()
        adapted = fit(new_latents(), model, labels_per_class=0)
        assert all(adapted.classifiers[name] is classifier for name, classifier in model.classifiers.items())

    def test_both_keeps_the_old_classes_and_learns_the_new_cells(self):
        latents = new_latents()
        adapted = fit(latents)
        for classifier in adapted.classifiers.values():
            assert set(classifier.classes) == {0, 3, 7}
            held_out = latents.held_out
            assert (classifier.predict(latents.after[held_out]) == latents.labels[held_out]).mean() > 0.8

    def test_new_has_only_the_classes_of_the_new_cells(self):
        adapted = fit(new_latents(), learn_from="new")
        assert all(set(classifier.classes) == set(CLASSES) for classifier in adapted.classifiers.values())

    def test_the_restriction_of_labels_is_kept(self):
        model = small_model()
        model.restrict_labels([model.labels[label] for label in CLASSES])
        adapted = fit(new_latents(), model)
        for classifier in adapted.classifiers.values():
            assert set(classifier.predict(model.reference.latents)) <= set(CLASSES)

    @pytest.mark.parametrize("learn_from", ["both", "new"])
    def test_so_are_the_weights_of_labels(self, learn_from):
        model = small_model()
        model.weigh_labels({model.labels[CLASSES[0]]: 1000, model.labels[CLASSES[1]]: 0.001})
        for classifier in fit(new_latents(), model, learn_from=learn_from).classifiers.values():
            np.testing.assert_array_equal(classifier.label_weights, model.classifiers["rf"].label_weights)


class TestComparison:
    def test_each_classifier_is_compared_on_the_held_out_cells(self):
        comparisons = fit(new_latents()).comparisons()
        assert {comparison.classifier for comparison in comparisons} == {"logistic", "rf"}
        for comparison in comparisons:
            assert (comparison.cells, comparison.slides) == (10, 2)
            assert comparison.slides_known
            assert comparison.after.value > comparison.before.value

    def test_images_of_unknown_slides_are_not_reported_as_slides(self):
        latents = new_latents()
        latents.table.groups[:] = [None] * N
        assert not any(comparison.slides_known for comparison in fit(latents).comparisons())

    def test_without_a_held_out_label_there_is_none(self):
        adapted = fit(new_latents(np.where(np.arange(N) < 10, -1, np.tile(CLASSES, N // 2))))
        assert adapted.comparisons() == []
        assert adapted.evaluation({}) is None

    def test_the_evaluation_is_of_the_held_out_cells(self):
        evaluation = fit(new_latents()).evaluation({"base": "ours"})
        assert evaluation.environment == {"base": "ours"}
        assert {(pair.target, pair.n_test, pair.n_train) for pair in evaluation.pairs} == {("ours", 10, 30)}
        assert sum(evaluation.counts["ours"].values()) == 10

    def test_the_evaluation_notes_the_restriction_of_labels(self):
        model = small_model()
        allowed = [model.labels[label] for label in CLASSES]
        model.restrict_labels(allowed)
        (note,) = fit(new_latents(), model).evaluation({}).notes
        assert all(label in note for label in allowed)


class TestReference:
    def test_the_new_laboratory_is_appended_without_its_held_out_cells(self):
        model = small_model()
        joined = fit(new_latents(), model).joined_reference(None)
        old = len(model.reference.latents)
        assert np.array_equal(joined.latents[:old], model.reference.latents)
        assert len(joined.latents) == old + 30
        assert set(joined.domains[old:]) == {len(model.config.domains)}

    def test_unused_labels_are_not_stored(self):
        model = small_model()
        joined = fit(new_latents(), model, labels_per_class=2).joined_reference(None)
        assert (joined.labels[len(model.reference.labels) :] >= 0).sum() == 4

    def test_thumbnails_match_their_cells(self):
        images = np.zeros((N, 64, 64, 3), np.uint8)
        images[:] = np.arange(N, dtype=np.uint8)[:, None, None, None]
        asked = []

        def image(row):
            asked.append(row)
            return images[row]

        fit(new_latents()).joined_reference(image)
        assert sorted(asked) == list(range(10, N))


def test_the_config_names_the_new_laboratory_last():
    model = small_model()
    assert fit(new_latents(), model).config() == replace(model.config, domains=("north", "south", "ours"))


@pytest.mark.parametrize("source", ["org/model", "/home/someone/model"])
def test_the_record_contains_no_local_path(source):
    record = fit(new_latents()).record((), source)
    assert "/home" not in record.arguments.base
