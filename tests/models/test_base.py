"""Shared behaviour of all models: only requested parts are computed, each once, and models can abstain."""

import numpy as np
import pytest
from small_model import IMAGE_SIZE, small_model
from small_network import small_comparison

from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.errors import ConfigError
from bc_sam.models.abstention import RejectionThresholds
from bc_sam.models.observation import Parts

every_model = pytest.mark.parametrize("make", [small_model, small_comparison, lambda: small_comparison("shape-aware")])

#: Names every cell with a mask, whatever its probability and distance.
LENIENT = RejectionThresholds(probability=0, ood=1)


@pytest.fixture(scope="module")
def pixels():
    laboratory = LABORATORIES["munich"]
    return np.stack([render_cell("monocyte", laboratory, np.random.default_rng(n), IMAGE_SIZE)[0] for n in range(3)])


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


class TestAbstention:
    @every_model
    def test_by_default_every_cell_is_named(self, make, pixels):
        model = make()
        black = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        predictions = list(model.stream([*pixels, black]))
        assert [one.label for one in predictions] == model.predict([*pixels, black])
        assert all(one.label == one.likeliest and one.reasons == () and one.ood is None for one in predictions)

    @every_model
    def test_a_blank_image_gets_no_name(self, make):
        model = make()
        black = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        (prediction,) = model.stream([black], abstain=True)
        assert prediction.label is None
        assert prediction.abstained
        assert prediction.likeliest == model.predict([black])[0]
        assert prediction.reasons[0].text.startswith("The image shows nothing.")

    def test_predict_and_stream_agree(self, pixels):
        model = small_comparison("resnet")
        names = model.predict(list(pixels), abstain=LENIENT)
        assert names == [one.label for one in model.stream(list(pixels), abstain=LENIENT)]
        assert names == model.predict(list(pixels))

    def test_thresholds_can_be_set(self, pixels):
        model = small_comparison("resnet")
        strict = RejectionThresholds(probability=1.01)
        assert model.predict(list(pixels), abstain=strict) == [None] * 3
        (first, *_) = model.stream(list(pixels), abstain=strict)
        assert [reason.short for reason in first.reasons] == ["unsure"]

    def test_a_cell_far_from_all_reference_cells_gets_no_name(self, pixels):
        model = small_model()
        far = model.embed(list(pixels)).mean(axis=0) + 1e3 + np.random.default_rng(0).normal(size=(20, 6))
        model.reference = ReferenceLatents(far.astype(np.float32), np.zeros(20, np.int64), np.zeros(20, np.int64))
        (first, *_) = model.stream(list(pixels), abstain=True)
        assert first.ood == 1
        assert "out of distribution" in [reason.short for reason in first.reasons]

    def test_an_unreadable_image_has_neither_name_nor_reasons(self):
        (broken,) = small_model().stream([b"no image"], abstain=True)
        assert (broken.label, broken.likeliest, broken.probability, broken.reasons) == (None, None, None, ())
        assert not broken.abstained


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


def test_a_single_image_is_rejected():
    with pytest.raises(ConfigError, match="list"):
        small_model().predict("cell.png", abstain=True)
