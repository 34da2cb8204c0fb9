"""BC-SAM models are saved, loaded, moved and refitted."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import LATENT_DIM, small_model
from small_network import small_comparison

from bc_sam import BCSam, load_model
from bc_sam.errors import BCSamError, ConfigError, DataError
from bc_sam.models.comparison import ComparisonModel

CELLS = [np.random.default_rng(n).integers(0, 256, (70, 90, 3), np.uint8) for n in range(3)]


def test_saving_and_loading_preserves_it(tmp_path):
    model = small_model()
    loaded = BCSam.from_pretrained(model.save_pretrained(tmp_path / "model"), device="cpu", dtype="float32")
    assert type(loaded) is BCSam
    for name in model.classifiers:
        ours, theirs = (one.predict_proba(CELLS, classifier=name) for one in (model, loaded))
        np.testing.assert_array_equal(ours, theirs)


def test_the_embedding_of_a_cell_can_be_the_same_in_every_orientation(tmp_path):
    cell = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    turned = [np.ascontiguousarray(np.rot90(cell, turns)) for turns in range(4)]
    single, averaged = small_model(), small_model(average_turns=True)
    expected = single.embed(turned).mean(axis=0)
    np.testing.assert_allclose(averaged.embed(turned), np.tile(expected, (4, 1)), atol=1e-5)
    assert not np.allclose(single.embed(turned)[1], expected, atol=1e-3)
    np.testing.assert_array_equal(averaged.segment(turned)[1], single.segment(turned)[1])
    assert BCSam.from_pretrained(averaged.save_pretrained(tmp_path / "model")).config.average_turns


def weights_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("[!c]*/*.safetensors")}


def test_a_copy_of_a_model_in_half_precision_stays_as_small(tmp_path):
    half = small_model().save_pretrained(tmp_path / "half", half=True)
    copy = BCSam.from_pretrained(half).save_pretrained(tmp_path / "copy")
    assert len(weights_of(half)) >= 2
    assert weights_of(copy) == weights_of(half)
    assert load_model(half).save_pretrained(tmp_path / "again").exists()
    assert weights_of(tmp_path / "again") == weights_of(half)


def test_the_precision_of_a_copy_can_be_chosen(tmp_path):
    half = small_model().save_pretrained(tmp_path / "half", half=True)
    full = BCSam.from_pretrained(half).save_pretrained(tmp_path / "full", half=False)
    smaller = BCSam.from_pretrained(full).save_pretrained(tmp_path / "smaller", half=True)
    assert all(len(content) > 1.5 * len(weights_of(half)[name]) for name, content in weights_of(full).items())
    assert weights_of(smaller) == weights_of(half)


def test_models_of_other_methods_are_rejected_with_a_hint(tmp_path):
    network = small_comparison("slca").save_pretrained(tmp_path / "network")
    with pytest.raises(ConfigError, match=r"method slca, which BCSam does not implement.*bc_sam\.load_model"):
        BCSam.from_pretrained(network)
    whole = small_model().save_pretrained(tmp_path / "whole")
    with pytest.raises(ConfigError, match=r"method bc-sam, which ComparisonModel does not implement"):
        ComparisonModel.from_pretrained(whole)


def test_every_part_can_be_moved():
    model = small_model()
    model.to("meta")
    assert model.device == torch.device("meta")
    parts = (*model.sam.parameters(), *model.autoencoder.parameters())
    assert {parameter.device.type for parameter in parts} == {"meta"}


def test_render_decodes_an_embedding():
    model = small_model()
    (embedding,) = model.embed(CELLS[:1])
    with torch.inference_mode():
        (expected,) = model.autoencoder.decode(torch.tensor(embedding)[None])
    image = model.render(embedding)
    assert (image.shape, image.dtype) == ((128, 128, 3), np.uint8)
    np.testing.assert_allclose(image, 255 * expected.permute(1, 2, 0).numpy(), atol=0.6)


def test_masks_have_the_size_of_each_image():
    masks = small_model().segment(CELLS)
    assert [(mask.shape, mask.dtype) for mask in masks] == [((70, 90), bool)] * 3


def test_saving_fails_if_not_all_classifiers_were_loaded(tmp_path):
    folder = small_model().save_pretrained(tmp_path / "model")
    partial = BCSam.from_pretrained(folder, classifiers=["default"])
    with pytest.raises(BCSamError, match=r"rf were not loaded and would be lost\. Load them all"):
        partial.save_pretrained(tmp_path / "copy")


def test_saving_names_the_package_that_a_classifier_needs(tmp_path, monkeypatch):
    folder = small_model(classifiers=("logistic", "xgboost")).save_pretrained(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(BCSamError, match=r'Run pip install "bc_sam\[xgboost\]", then load the model again\.'):
        BCSam.from_pretrained(folder).save_pretrained(tmp_path / "copy")


class TestRefit:
    def test_keeps_the_restriction_of_the_labels(self):
        model = small_model()
        model.restrict_labels([model.labels[0], model.labels[3]])
        model.refit()
        assert not np.delete(model.predict_proba(CELLS), (0, 3), axis=1).any()

    def test_needs_stored_embeddings(self):
        model = small_model()
        model.reference = None
        with pytest.raises(DataError, match="stores no embeddings"):
            model.refit()


def test_no_images_give_empty_results():
    model = small_model()
    assert model.predict([]) == []
    assert model.predict([], abstain=True) == []
    assert model.embed([]).shape == (0, LATENT_DIM)
    assert model.segment([]) == []


class TestWithClassifiers:
    def test_it_shares_the_networks_and_leaves_the_model_as_it_is(self, tmp_path):
        model, other = small_model(), small_model(1)
        joined = model.reference.joined(replace(other.reference, domains=np.full(60, 2)))
        made = model.with_classifiers({"rf": other.classifiers["rf"]}, joined, "ours")
        assert made.sam is model.sam
        assert (made.config.domains, made.config.default_classifier) == (("north", "south", "ours"), "rf")
        assert (model.config.domains, list(model.classifiers)) == (("north", "south"), ["logistic", "rf"])
        loaded = BCSam.from_pretrained(made.save_pretrained(tmp_path / "made"))
        expected = other.classifiers["rf"].predict_proba(model.embed(CELLS))
        assert np.allclose(loaded.predict_proba(CELLS), expected, atol=1e-4)

    def test_allowed_labels_stay(self):
        model = small_model()
        model.restrict_labels([model.labels[0], model.labels[3]])
        made = model.with_classifiers({"rf": small_model(1).classifiers["rf"]}, model.reference, "ours")
        assert set(made.classifiers["rf"].predict(model.reference.latents)) <= {0, 3}


class TestFit:
    EMBEDDINGS = np.repeat(np.eye(3, LATENT_DIM, dtype=np.float32) * 9, 8, axis=0)
    LABELS = np.repeat(["basophil", "monocyte", "eosinophil"], 8)

    def test_replaces_classifiers_and_what_belongs_to_them(self, tmp_path):
        model = small_model()
        fitted = model.fit(self.EMBEDDINGS, self.LABELS, "ours", names=["ann", "rf"])
        assert fitted is model
        assert model.config.default_classifier == "ann"
        loaded = BCSam.from_pretrained(model.save_pretrained(tmp_path / "model"))
        assert tuple(loaded.classifiers) == ("ann", "rf")
        assert loaded.config.domains == ("north", "south", "ours")
        assert set(loaded.reference.domains) == {2}
        assert [loaded.labels[i] for i in loaded.classifiers["rf"].predict(self.EMBEDDINGS)] == list(self.LABELS)

    def test_takes_names_or_indices_and_a_laboratory_for_each_cell(self):
        model = small_model()
        indices = np.array([model.labels.index(label) for label in self.LABELS])
        laboratories = ["east", "south"] * 12
        model.fit(self.EMBEDDINGS, indices, laboratories, names=["logistic"])
        assert [model.labels[i] for i in model.classifiers["logistic"].predict(self.EMBEDDINGS)] == list(self.LABELS)
        assert model.config.domains == ("north", "south", "east")
        assert np.bincount(model.reference.domains).tolist() == [0, 12, 12]

    def test_keeps_the_restriction_of_the_labels(self):
        model = small_model().restrict_labels(["basophil", "neutrophil_banded"])
        model.fit(self.EMBEDDINGS, self.LABELS, "ours", names=["logistic"])
        assert set(model.classifiers["logistic"].predict(self.EMBEDDINGS)) == {model.labels.index("basophil")}

    @pytest.mark.parametrize(
        ("embeddings", "labels", "message"),
        [
            (EMBEDDINGS[:, 1:], LABELS, r"Embeddings \(n, 6\) and n labels are needed"),
            (EMBEDDINGS[1:], LABELS, "there are 24 labels"),
            (EMBEDDINGS * np.nan, LABELS, "not finite"),
            (EMBEDDINGS, np.repeat(["basophil", "unicorn"], 12), "no label unicorn"),
            (EMBEDDINGS, np.repeat([0, 13], 12), "no label 13"),
            (EMBEDDINGS, np.repeat(["basophil"], 24), "at least two classes"),
        ],
    )
    def test_refuses_what_does_not_fit_and_changes_nothing(self, embeddings, labels, message):
        model = small_model()
        before = dict(model.classifiers)
        with pytest.raises(DataError, match=message):
            model.fit(embeddings, labels, "ours", names=["logistic"])
        assert model.classifiers == before


def test_a_model_without_classifiers_says_how_to_fit_some():
    model = small_model()
    empty = BCSam(model.config, model.adapter, model.autoencoder, {})
    assert empty.embed(CELLS).shape == (3, LATENT_DIM)
    with pytest.raises(ConfigError, match=r"no classifiers yet.*bc-sam fit"):
        empty.predict(CELLS)
