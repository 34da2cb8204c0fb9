import pytest
import torch
from small_network import small_network
from torch.nn import functional as F

from bc_sam.networks.slca import SpatialChannelAttention

IMAGES, MAPS, NOTHING = torch.randn(2, 3, 48, 48), torch.randn(2, 32, 4, 4), torch.empty(0)


@pytest.fixture
def attention():
    torch.manual_seed(0)
    module = SpatialChannelAttention(6, 8, grid=3, reduction=4)
    for parameter in module.parameters():
        torch.nn.init.uniform_(parameter)  # so that no hidden unit is dead
    return module


def test_the_weights_follow_the_equations(attention):
    maps = torch.randn(2, 6, 9, 9)
    means = maps.unfold(2, 3, 3).unfold(3, 3, 3).mean(dim=(-1, -2))
    w1, w2 = attention.squeeze.weight[:, :, 0, 0], attention.excite.weight[:, :, 0, 0]
    hidden = torch.einsum("kc,bchw->bkhw", w1, means) + attention.squeeze.bias[:, None, None]
    expected = torch.sigmoid(torch.einsum("ck,bkhw->bchw", w2, F.relu(hidden)) + attention.excite.bias[:, None, None])
    torch.testing.assert_close(attention(maps, (3, 3)), expected)


def test_each_grid_cell_depends_only_on_its_own_features(attention):
    maps = torch.zeros(1, 6, 9, 9)
    maps[:, :, :3, :3] = 5.0
    weights, baseline = attention(maps, (3, 3)), attention(torch.zeros(1, 6, 9, 9), (3, 3))
    differs = (weights != baseline).any(dim=1)[0]
    assert differs[0, 0]
    assert differs.sum() == 1


def test_a_one_by_one_grid_is_squeeze_and_excitation():
    module = SpatialChannelAttention(6, 8, grid=1, reduction=2)
    torch.nn.init.normal_(module.excite.weight)
    weights = module(torch.randn(1, 6, 9, 9), (5, 5))
    assert torch.allclose(weights, weights[:, :, :1, :1].expand_as(weights))


def test_weights_lie_between_zero_and_one_and_start_at_a_half(attention):
    assert attention(100 * torch.randn(2, 6, 14, 14), (7, 5)).sub(0.5).abs().max() <= 0.5
    assert (SpatialChannelAttention(6, 8)(torch.randn(1, 6, 14, 14), (4, 4)) == 0.5).all()


def test_the_logits_depend_on_the_sam_features():
    _, network = small_network("slca")
    one, other = (network(IMAGES, maps, NOTHING) for maps in (MAPS, MAPS + 1))
    assert not torch.allclose(one, other)
    assert network.attention_maps(IMAGES, MAPS, NOTHING).shape == (2, 4, 4)


def test_without_slca_it_is_the_plain_classifier():
    _, without = small_network("slca without attention")
    _, plain = small_network("resnet")
    plain.load_state_dict(without.state_dict())
    torch.testing.assert_close(without(IMAGES, NOTHING, NOTHING), plain(IMAGES, NOTHING, NOTHING))
    assert without.attention_maps(IMAGES, NOTHING, NOTHING) is None


def test_the_head_maps_the_embedding_to_the_logits():
    _, network = small_network("slca")
    embedding = network.embed(IMAGES, MAPS, NOTHING)
    torch.testing.assert_close(network.head(embedding), network(IMAGES, MAPS, NOTHING))
