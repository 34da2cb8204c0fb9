import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bc_sam.errors import ConfigError
from bc_sam.networks.sam.encoding import (
    cell_logits,
    encode,
    feature_shape,
    freeze_unused,
    image_embeddings,
    normalise,
    upsample_logits,
)
from bc_sam.networks.sam.lora import add_lora
from bc_sam.networks.sam.resizing import keep_mask_tokens

MEAN, STD = (215.0322, 187.7592, 200.4668), (41.3047, 56.9191, 21.9522)


@pytest.fixture
def images():
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


class TestNormalise:
    def test_matches_the_original(self, expected):
        values = normalise(expected["images"], MEAN, STD)
        assert (values - expected["preprocessed"]).abs().max() <= 1e-6
        assert values.is_contiguous()

    @given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(4), st.just(4), st.just(3))))
    def test_is_invertible(self, pixels):
        values = normalise(torch.from_numpy(pixels), MEAN, STD).permute(0, 2, 3, 1)
        restored = values * torch.tensor(STD) + torch.tensor(MEAN)
        assert np.array_equal(restored.round().numpy(), pixels)


class TestEncode:
    def test_the_embedding_matches_the_encoders_forward(self, sam, images):
        with torch.no_grad():
            embeddings = image_embeddings(sam, encode(sam, images))
            assert torch.allclose(embeddings, sam.vision_encoder(images).last_hidden_state, atol=1e-5)

    def test_the_features_are_the_hidden_state_before_the_neck(self, sam, images):
        with torch.no_grad():
            features = encode(sam, images)
            last = sam.vision_encoder(images, output_hidden_states=True).hidden_states[-1]
        assert torch.equal(features, last.permute(0, 3, 1, 2))
        assert features.is_contiguous()

    def test_a_new_lora_does_not_change_the_features(self, sam, images):
        with torch.no_grad():
            before = encode(sam, images)
            after = encode(add_lora(sam), images)
        assert torch.equal(before, after)

    def test_images_of_a_batch_are_independent(self, sam, images):
        with torch.no_grad():
            together = encode(sam, images)
            alone = torch.cat([encode(sam, image[None]) for image in images])
        assert torch.allclose(together, alone, atol=1e-4)

    def test_gradients_reach_the_pixels_from_features_and_embeddings(self, sam, images):
        features = encode(sam, images.requires_grad_(True))
        for output in (features, image_embeddings(sam, features)):
            (gradient,) = torch.autograd.grad(output.square().mean(), images, retain_graph=True)
            assert gradient.abs().sum() > 0


class TestCellLogits:
    def test_single_is_sams_mask_without_a_prompt(self, sam, images):
        with torch.no_grad():
            logits = cell_logits(sam, encode(sam, images))
            masks = sam(pixel_values=images, multimask_output=False).pred_masks
        assert logits.shape == (2, 56, 56)
        assert torch.allclose(logits, masks[:, 0, 0], atol=1e-4)

    def test_two_is_the_softmax_of_background_and_cell(self, sam, images):
        sam = keep_mask_tokens(sam, 2)
        with torch.no_grad():
            features = encode(sam, images)
            embeddings = image_embeddings(sam, features)
            background = sam(image_embeddings=embeddings, multimask_output=False).pred_masks[:, 0, 0]
            cell = sam(image_embeddings=embeddings, multimask_output=True).pred_masks[:, 0, 0]
            logits = cell_logits(sam, features, mask_tokens="two")
        probability = torch.softmax(torch.stack([background, cell]), dim=0)[1]
        assert torch.allclose(logits.sigmoid(), probability, atol=1e-6)
        assert torch.equal(logits > 0, cell > background)

    def test_two_needs_a_decoder_with_two_tokens(self, sam):
        with pytest.raises(ConfigError, match="this one has 4"):
            cell_logits(sam, torch.zeros(1, *feature_shape(sam)), mask_tokens="two")


class TestFreezeUnused:
    @pytest.mark.parametrize("mask_tokens", ["single", "two"])
    def test_exactly_the_parameters_with_a_gradient_stay_trainable(self, sam, images, mask_tokens):
        if mask_tokens == "two":
            sam = keep_mask_tokens(sam, 2)
        freeze_unused(sam, mask_tokens=mask_tokens)
        features = encode(sam, images).detach()
        cell_logits(sam, features, mask_tokens=mask_tokens).square().mean().backward()
        for module in (sam.prompt_encoder, sam.mask_decoder):
            trained = {name for name, p in module.named_parameters() if p.requires_grad}
            # A key bias shifts all scores of a softmax equally, so its gradient is zero.
            has_gradient = {n for n, p in module.named_parameters() if p.grad is not None and p.grad.any()}
            assert {name for name in trained - has_gradient if not name.endswith("k_proj.bias")} == set()
            assert has_gradient <= trained

    def test_nothing_else_is_frozen(self, sam):
        freeze_unused(sam)
        assert all(p.requires_grad for p in sam.vision_encoder.parameters())
        assert sam.prompt_encoder.no_mask_embed.weight.requires_grad


@given(st.floats(-10, 10), st.integers(1, 9), st.integers(1, 40))
def test_upsampling_keeps_a_constant_and_returns_the_size(constant, side, size):
    resized = upsample_logits(torch.full((2, side, side), constant), size)
    assert resized.shape == (2, size, size)
    assert torch.allclose(resized, torch.full_like(resized, constant), atol=1e-5)
