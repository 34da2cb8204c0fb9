import copy

import pytest
import torch
from transformers import SamModel

from bc_sam.networks.sam import attention
from bc_sam.networks.sam.attention import FusedBiasAttention, use_fused_bias_attention
from bc_sam.networks.sam.loading import tiny_sam_config
from bc_sam.utils.torch_utils import seeded


@pytest.fixture(scope="module")
def library_sam():
    """A SAM with transformers' attention, relative positions of noticeable effect, and one windowed block."""
    config = tiny_sam_config(224)
    config.vision_config.global_attn_indexes = [0, 2, 3, 4, 5]
    config.vision_config.window_size = 8  # does not divide 14, so the windows are padded
    with seeded(0):
        sam = SamModel(config).eval()
        for block in sam.vision_encoder.layers:
            for positions in (block.attn.rel_pos_h, block.attn.rel_pos_w):
                torch.nn.init.normal_(positions)
    return sam


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def fused(sam):
    return use_fused_bias_attention(copy.deepcopy(sam))


def encode(sam, images):
    return sam.vision_encoder(images).last_hidden_state


@pytest.mark.parametrize("few_tokens", [0, 1024], ids=["fused kernel", "materialized scores"])
def test_outputs_match_transformers(library_sam, images, monkeypatch, few_tokens):
    monkeypatch.setattr(attention, "_FEW_TOKENS", few_tokens)
    with torch.no_grad():
        assert torch.allclose(encode(fused(library_sam), images), encode(library_sam, images), atol=2e-5)


@pytest.mark.parametrize("few_tokens", [0, 1024], ids=["fused kernel", "materialized scores"])
def test_gradients_match_transformers(library_sam, images, monkeypatch, few_tokens):
    monkeypatch.setattr(attention, "_FEW_TOKENS", few_tokens)
    gradients = []
    for sam in (library_sam, fused(library_sam)):
        parameters = list(sam.vision_encoder.layers.parameters())
        gradients.append(torch.autograd.grad(encode(sam, images).square().mean(), parameters))
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours - theirs).norm() <= 1e-3 * theirs.norm() + 1e-7


def test_the_fixtures_biases_affect_the_output(library_sam, images):
    unbiased = copy.deepcopy(library_sam)
    for block in unbiased.vision_encoder.layers:
        block.attn.use_rel_pos = False
    with torch.no_grad():
        assert not torch.allclose(encode(unbiased, images), encode(library_sam, images), atol=1e-2)
        assert torch.allclose(encode(fused(unbiased), images), encode(unbiased, images), atol=2e-5)


def test_tensors_keep_their_names_and_values(library_sam):
    before, after = library_sam.state_dict(), fused(library_sam).state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(type(block.attn) is FusedBiasAttention for block in fused(library_sam).vision_encoder.layers)


def test_the_fused_kernel_gets_no_bias_matrix(library_sam, images, monkeypatch):
    """Given a bias matrix, it would have to materialize the scores."""
    monkeypatch.setattr(attention, "_FEW_TOKENS", 0)
    calls = []

    def kernel(query, key, value, **options):
        calls.append(({query.shape, key.shape, value.shape}, options))
        return value

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", kernel)
    with torch.no_grad():
        encode(fused(library_sam), images)
    assert len(calls) == len(library_sam.vision_encoder.layers)
    for shapes, options in calls:
        assert options == {"scale": 1.0}  # no attn_mask
        (shape,) = shapes
        assert shape[-1] % 8 == 0
