"""Images as users have them: in which forms they come, at which scale, and when a cell gets no name."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_smear import draw_smear
from every_model import every_model
from PIL import Image
from small_model import IMAGE_SIZE, small_model
from small_network import small_comparison

from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.images import encode_png
from bc_sam.errors import ConfigError, DataError
from bc_sam.models.abstention import RejectionThresholds
from bc_sam.models.observation import Observation

#: Names every cell with a mask, whatever its probability and distance.
LENIENT = RejectionThresholds(probability=0, ood=1)


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


class TestNormalized:
    """Images reach the encoder at one scale and light if the model's config says so."""

    NORMALIZATION = NormalizationConfig(field_of_view=30.0)

    @pytest.fixture
    def smears(self):
        """Cells of one camera, of which the last has no red cells and is half as wide as the others."""
        images = [draw_smear(200, 33, white_cell=66, seed=seed) for seed in range(3)]
        return [*images, draw_smear(200, 33, n_red_cells=0, white_cell=33)]

    @pytest.fixture
    def model(self):
        return small_model(normalization=self.NORMALIZATION)

    @staticmethod
    def seen(model, images, **options):
        return [image for batch in model.batches(images, 2, **options) for image in batch.prepared]

    def test_images_of_one_call_share_a_profile(self, model, smears):
        seen = self.seen(model, smears)
        assert len({image.scale for image in seen}) == 1
        assert seen[0].scale.ruler == "red cells"
        alone = self.seen(model, smears[-1:])[0].scale
        assert alone.ruler == "white cell"
        assert alone.microns_per_pixel == pytest.approx(2 * seen[0].scale.microns_per_pixel, rel=0.15)

    def test_any_iterable_gives_the_same(self, model, smears):
        expected = model.embed(smears, batch_size=2)
        np.testing.assert_array_equal(model.embed(iter(smears), batch_size=2), expected)
        np.testing.assert_array_equal(model.embed(np.stack(smears), batch_size=2), expected)

    def test_a_given_profile_takes_precedence(self, model, smears):
        profile = model.profile(smears[:3])
        assert (profile.scale.ruler, profile.n_images) == ("red cells", 3)
        (last,) = self.seen(model, smears[-1:], profile=profile)
        assert last.scale == profile.scale

    def test_another_magnification_and_lamp_gives_the_same_embeddings(self):
        """Up to resampling; without normalization they differ as much as those of different cells."""
        near, far = (
            [draw_smear(round(200 * zoom), 33 * zoom, white_cell=66 * zoom, gain=gain, seed=n) for n in range(3)]
            for zoom, gain in ((1.0, (1, 1, 1)), (1.8, (1, 0.85, 0.7)))
        )

        def change(model):
            one, other = model.embed(near), model.embed(far)
            return np.linalg.norm(one - other, axis=1).mean() / np.linalg.norm(one, axis=1).mean()

        assert change(small_model(normalization=self.NORMALIZATION)) < 0.5 * change(small_model())

    def test_a_given_pixel_size_holds(self, model, smears):
        assert {image.scale.ruler for image in self.seen(model, smears, microns_per_pixel=0.2)} == {"given"}
        (one,) = self.seen(model, smears[:1], microns_per_pixel=0.2)
        assert (one.scale.microns_per_pixel, one.scale.ruler) == (0.2, "given")
        measured, given = (
            [one.probability for one in model.stream(smears, microns_per_pixel=size)] for size in (None, 0.15)
        )
        assert measured != given
        np.testing.assert_array_equal(
            model.predict_proba(smears, microns_per_pixel=0.15).max(axis=1), np.array(given, np.float32)
        )

    @pytest.mark.parametrize("images", [1, 3])
    def test_an_implausible_pixel_size_is_rejected(self, model, smears, images):
        for call in (model.predict, model.embed, model.segment, lambda *a, **k: list(model.stream(*a, **k))):
            with pytest.raises(ConfigError, match="microns_per_pixel must be between"):
                call(smears[:images], microns_per_pixel=7.5)

    def test_a_model_without_normalization_ignores_it(self, smears):
        model = small_model()
        assert model.profile(smears) is None
        np.testing.assert_array_equal(model.embed(smears, microns_per_pixel=0.2), model.embed(smears))
        assert [image.scale for image in self.seen(model, smears, microns_per_pixel=99.0)] == [None] * 4

    def test_a_single_image_and_no_image_work(self, model, smears):
        assert len(model.predict(smears[:1])) == 1
        assert model.predict([]) == []
        assert model.predict([np.zeros((9, 9, 3), np.uint8)])[0] in model.labels

    def test_masks_have_the_size_and_place_of_the_cell_in_the_original(self, model, monkeypatch):
        image = draw_smear(300, 50, white_cell=100, white_cells=((0.4, 0.65),))[:, 20:]
        disc = ((np.indices((IMAGE_SIZE, IMAGE_SIZE)) - IMAGE_SIZE / 2 + 0.5) ** 2).sum(axis=0) < 15**2
        monkeypatch.setattr(
            model, "observe", lambda pixels, *_, **__: Observation(pixels, masks=np.stack([disc] * len(pixels)))
        )
        (mask,) = model.segment([image])
        assert mask.shape == (300, 280)
        centre = np.argwhere(mask).mean(axis=0)
        assert centre == pytest.approx((0.4 * 300, 0.65 * 300 - 20), abs=4)
        width = 2 * np.sqrt(mask.sum() / np.pi) * self.seen(model, [image])[0].scale.microns_per_pixel
        assert width == pytest.approx(30 * 30 / IMAGE_SIZE, rel=0.05)

    def test_unreadable_images_do_not_disturb(self, model, smears):
        first, broken, *_ = model.stream([smears[0], b"no image", *smears[1:]])
        assert broken.label is None
        assert first.probability == next(model.stream(smears)).probability

    def test_images_above_the_limit_are_not_measured(self, model, smears):
        small = [image[50:150, 50:150] for image in smears]
        (batch,) = model.batches([*small, np.zeros((999, 999, 3), np.uint8)], 9, max_pixels=100 * 100)
        assert [error is None for error in batch.errors] == [True] * 4 + [False]
        assert model.profile([*small, smears[0]], max_pixels=100 * 100).n_images == 4

    def test_a_cell_of_unknown_scale_gets_no_name(self):
        model = small_comparison("resnet", normalization=self.NORMALIZATION)
        noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)  # neither red nor white cells
        (prediction,) = model.stream([noise], abstain=LENIENT)
        assert prediction.label is None
        assert prediction.likeliest in model.labels
        assert [reason.short for reason in prediction.reasons] == ["scale"]
        assert "neither red cells nor a white cell" in prediction.reasons[0].text

    def test_attention_can_be_drawn_in_parts(self, smears):
        model = small_comparison("slca", normalization=self.NORMALIZATION)
        labels, maps = model.predict_with_attention(smears)
        parts = [model.predict_with_attention(smears[i : i + 1], profile=model.profile(smears)) for i in range(4)]
        assert [label for some, _ in parts for label in some] == labels == model.predict(smears)
        for whole, (_, (part,)) in zip(maps, parts, strict=True):
            np.testing.assert_allclose(part, whole, atol=1e-5)

    def test_comparison_models_too(self, smears):
        model = small_comparison("slca", normalization=self.NORMALIZATION)
        assert [one.shape for one in model.attention(smears)] == [(200, 200)] * 4
        (image,) = self.seen(model, smears[:1])
        outside = np.ones((200, 200), bool)
        outside[image.window.overlap((200, 200))[0]] = False
        (attention,) = model.attention(smears[:1])
        assert not attention[outside].any()
        assert attention[~outside].any()


class TestForms:
    """In which containers and types images may come."""

    @pytest.mark.parametrize(
        "as_batch",
        [
            np.asarray,
            list,
            iter,
            lambda pixels: [Image.fromarray(cell) for cell in pixels],
            lambda pixels: torch.tensor(pixels).permute(0, 3, 1, 2),
            lambda pixels: [torch.tensor(cell).permute(2, 0, 1) for cell in pixels],
            lambda pixels: [io.BytesIO(encode_png(Image.fromarray(cell))) for cell in pixels],
        ],
        ids=["array", "list", "iterator", "pillow", "tensor", "tensors", "files"],
    )
    def test_all_forms_of_a_batch_give_the_same(self, as_batch, pixels):
        model = small_model()
        np.testing.assert_array_equal(model.embed(as_batch(pixels)), model.embed(list(pixels)))

    def test_a_call_takes_one_image_or_a_batch(self, pixels):
        model = small_model()
        assert model(pixels[0]) == model(pixels)[0] == model(torch.tensor(pixels[0]).permute(2, 0, 1))

    @pytest.mark.parametrize("method", ["predict", "predict_proba", "embed", "segment", "stream"])
    @pytest.mark.parametrize(
        "form", ["cell.png", Path("cell.png"), b"png", Image.new("RGB", (9, 9)), np.zeros((9, 9, 3))]
    )
    def test_a_single_image_is_rejected_where_a_list_is_due(self, method, form):
        with pytest.raises(ConfigError, match="Pass a list of images"):
            list(getattr(small_model(), method)(form))


@every_model
def test_a_cell_whose_embedding_is_not_finite_gets_no_name_and_stops_no_other(make, pixels):
    model = make()
    encode = model._encode

    def with_overflow(pixels, **options):
        encoded = encode(pixels, **options)
        encoded.embeddings[1] = np.inf
        return encoded

    model._encode = with_overflow
    for abstain in (False, LENIENT):
        first, bad, last = model.stream(list(pixels), abstain=abstain)
        assert bad.label is bad.likeliest is bad.probabilities is None
        assert "computes no finite embedding" in str(bad.error)
        assert first.error is last.error is None
    with pytest.raises(DataError, match="1 of 3 embeddings are not finite"):
        model.predict(list(pixels))


@every_model
def test_models_pickle_for_workers_that_are_spawned(make, pixels):
    model = make()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(pixels), model.predict_proba(pixels))
    assert repr(again) == repr(model)
