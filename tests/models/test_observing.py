"""Only requested parts are computed, each once; what a model knows of itself; labels that can occur."""

import numpy as np
import pytest
import torch
from every_model import every_model
from small_model import small_model

from bc_sam import load_model
from bc_sam.errors import BCSamError, ConfigError
from bc_sam.models.observation import Parts


def passes(model):
    """Counts the forward passes of the encoder and the mask decoder."""
    counts = {"encoder": 0, "decoder": 0}

    def counter(part):
        def count(*_):
            counts[part] += 1

        return count

    model.sam.vision_encoder.layers[0].register_forward_pre_hook(counter("encoder"))
    model.sam.mask_decoder.register_forward_pre_hook(counter("decoder"))
    return counts


class TestObserve:
    @pytest.mark.parametrize(
        "failure",
        [
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            MemoryError("Unable to allocate 3.00 GiB for an array"),
        ],
    )
    def test_too_little_memory_is_said(self, pixels, monkeypatch, failure):
        def fail(*_, **__):
            raise failure

        model = small_model()
        monkeypatch.setattr(model, "_encode", fail)
        with pytest.raises(BCSamError, match=r"not enough for 3 images of \d+ px at a time\. Use a smaller"):
            model.observe(pixels)

    def test_other_errors_are_left_as_they_are(self, pixels, monkeypatch):
        def fail(*_, **__):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

        model = small_model()
        monkeypatch.setattr(model, "_encode", fail)
        with pytest.raises(RuntimeError, match="mat1"):
            model.observe(pixels)

    @every_model
    def test_everything_comes_from_one_pass_of_the_encoder(self, make, pixels):
        model = make()
        counts = passes(model)
        seen = model.observe(pixels)
        assert counts["encoder"] == 1
        assert seen.embeddings.shape == (3, model.config.latent_dim)
        assert set(seen.probabilities) == set(model.classifiers)
        assert (seen.masks is not None) == (seen.n_cells is not None) == model.can_segment
        assert (seen.ood is not None) == (model.reference is not None)
        assert seen.quality.contrast.shape == (3,)

    @pytest.mark.parametrize(
        ("parts", "computed"),
        [
            (Parts.EMBEDDINGS, {"embeddings"}),
            (Parts.MASKS, {"masks", "n_cells"}),
            (Parts.QUALITY, {"quality"}),
            (Parts.PROBABILITIES, {"embeddings", "probabilities"}),
            (Parts.OOD, {"embeddings", "ood"}),
        ],
    )
    def test_only_requested_parts_are_computed(self, parts, computed, pixels):
        model = small_model()
        counts = passes(model)
        seen = model.observe(pixels, parts)
        every = ("embeddings", "masks", "n_cells", "quality", "probabilities", "ood")
        values = {name: getattr(seen, name) for name in every}
        assert {
            name for name, value in values.items() if not (value is None or (isinstance(value, dict) and not value))
        } == computed
        assert counts["decoder"] == (Parts.MASKS in parts)

    @every_model
    def test_a_part_does_not_depend_on_other_requested_parts(self, make, pixels):
        model = make()
        whole = model.observe(pixels)
        np.testing.assert_array_equal(model.observe(pixels, Parts.EMBEDDINGS).embeddings, whole.embeddings)
        if model.can_segment:
            np.testing.assert_array_equal(model.observe(pixels, Parts.MASKS).masks, whole.masks)

    def test_only_requested_classifiers_are_applied(self, pixels):
        model = small_model()
        assert set(model.observe(pixels, classifiers=["rf"]).probabilities) == {"rf"}
        with pytest.raises(ConfigError, match=r"no classifier 'knn'\. Choose from logistic, rf"):
            model.observe(pixels, classifiers=["knn"])

    def test_an_empty_batch_has_no_cells(self, pixels):
        assert list(small_model().observe(pixels[:0]).cells()) == []


def test_embed_does_not_run_the_mask_decoder(pixels):
    model = small_model()
    counts = passes(model)
    model.embed(list(pixels), batch_size=2)
    model.predict(list(pixels), batch_size=2)
    list(model.stream(list(pixels), batch_size=2))
    assert counts == {"encoder": 6, "decoder": 0}


class TestRestrictedLabels:
    @every_model
    def test_other_labels_have_zero_probability(self, make, pixels):
        model = make()
        some = [model.labels[label] for label in (0, 3)]
        model.restrict_labels(some)
        assert not np.delete(model.predict_proba(list(pixels)), (0, 3), axis=1).any()
        assert model.config.allowed_labels == tuple(some)
        model.restrict_labels(model.labels)
        assert model.config.allowed_labels == ()

    def test_unknown_labels_are_rejected(self):
        with pytest.raises(ConfigError, match=r"no label 'monocytes'\. Choose from basophil"):
            small_model().restrict_labels(["monocytes"])

    def test_none_at_all_is_rejected(self):
        with pytest.raises(ConfigError, match="At least one label must be possible"):
            small_model().restrict_labels([])

    def test_one_label_may_stand_alone_and_the_model_comes_back(self, pixels):
        assert set(small_model().restrict_labels("basophil").predict(list(pixels))) == {"basophil"}


class TestWeighedLabels:
    @every_model
    def test_their_odds_are_multiplied_in_all_predictions(self, make, pixels):
        model = make()
        label = model.labels[0]
        before = model.predict_proba(list(pixels)).astype(float)
        model.weigh_labels({label: 4})
        weighed = before * np.where(np.arange(len(model.labels)) == 0, 4, 1)
        np.testing.assert_allclose(
            model.predict_proba(list(pixels)), weighed / weighed.sum(axis=1, keepdims=True), atol=1e-5
        )

    @every_model
    def test_they_are_saved_with_the_model_and_can_be_lifted(self, make, pixels, tmp_path):
        model = make()
        before = model.predict_proba(list(pixels))
        model.weigh_labels({model.labels[0]: 4})
        loaded = load_model(model.save_pretrained(tmp_path / "model"), dtype="float32", device="cpu")
        assert loaded.config.label_weights == {model.labels[0]: 4.0}
        np.testing.assert_allclose(loaded.predict_proba(list(pixels)), model.predict_proba(list(pixels)), atol=1e-5)
        np.testing.assert_allclose(loaded.weigh_labels({}).predict_proba(list(pixels)), before, atol=1e-5)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ({"monocytes": 2}, "label_weights contains labels that the model does not have: monocytes"),
            ({"monocyte": 0}, r"The weight of monocyte must be between 0\.001 and 1,000, but is 0"),
            ({"monocyte": float("nan")}, "The weight of monocyte must be between"),
        ],
    )
    def test_unknown_labels_and_impossible_weights_are_rejected(self, weights, message):
        model = small_model()
        with pytest.raises(ConfigError, match=message):
            model.weigh_labels(weights)
        assert model.config.label_weights == {}


class TestOodScore:
    def test_follows_the_reference_cells(self):
        model = small_model()
        first = model.ood_score
        assert model.ood_score is first
        model.reference = model.reference.subset(np.arange(20))
        assert model.ood_score is not first

    def test_is_none_for_too_few_reference_cells(self):
        model = small_model()
        model.reference = model.reference.subset(np.arange(3))
        assert model.ood_score is None
        model.reference = None
        assert model.ood_score is None


class TestAsAModuleOfTorch:
    def test_moving_and_eval_return_the_model(self):
        model = small_model()
        assert model.to("cpu") is model.eval() is model

    def test_a_device_that_is_not_there_is_named(self):
        with pytest.raises(ConfigError, match=r"There is no device mps:9 on this machine\. Choose"):
            small_model().to("mps:9")

    def test_the_data_type_is_that_of_the_encoder(self):
        assert small_model().dtype == torch.float32

    def test_the_name_of_each_column_is_known(self):
        model = small_model()
        assert [model.config.id2label[i] for i in range(len(model.labels))] == list(model.labels)

    def test_it_prints_in_one_line(self):
        model = small_model()
        assert str(model).count("\n") == 0
        assert all(name in str(model) for name in (type(model).__name__, *model.classifiers))
