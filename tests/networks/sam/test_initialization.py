import pytest
import torch
from small_model import IMAGE_SIZE, small_sam
from torch.nn import functional as F

from bc_sam.networks.sam.encoding import encode
from bc_sam.networks.sam.initialization import mimetic_init


@pytest.fixture(scope="module")
def images():
    """Smooth images, in which neighbouring pixels are correlated as in photographs."""
    noise = torch.randn(60, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(noise, 5, stride=1, padding=2)


@pytest.fixture(scope="module")
def sam(images):
    return mimetic_init(small_sam(), images, seed=3)


def test_patch_embeddings_are_whitened(sam, images):
    tokens = sam.vision_encoder.patch_embed(images).flatten(0, 2)
    covariance = torch.cov(tokens.T)
    assert covariance.diagonal().std() < 0.2 * covariance.diagonal().mean()
    assert (covariance - covariance.diagonal().diag()).abs().max() < 0.1 * covariance.diagonal().min()
    assert tokens.mean(dim=0).abs().max() < 1e-3


def test_near_positions_are_more_similar_than_distant_ones(sam):
    positions = F.normalize(sam.vision_encoder.pos_embed[0].flatten(0, 1), dim=1)
    grid = sam.vision_encoder.pos_embed.shape[1]
    similarity = (positions @ positions.T)[0].reshape(grid, grid)
    assert similarity[0, 0] > similarity[0, 1] > similarity[0, 2]
    assert similarity[1, 0] > similarity[2, 0]


def test_query_key_products_are_near_the_identity_and_value_projections_near_its_negative(sam):
    width = 32
    for block in sam.vision_encoder.layers:
        query, key, value = block.attn.qkv.weight.split(width)
        product = query.T @ key
        assert product.diagonal().mean() > 3 * (product - product.diagonal().diag()).abs().mean()
        assert (value.T @ block.attn.proj.weight.T).diagonal().mean() < -0.2


def test_the_weights_are_determined_by_the_seed(images, sam):
    again, other = mimetic_init(small_sam(), images, seed=3), mimetic_init(small_sam(), images, seed=4)
    assert torch.equal(encode(again, images[:2]), encode(sam, images[:2]))
    assert not torch.allclose(encode(other, images[:2]), encode(sam, images[:2]))
