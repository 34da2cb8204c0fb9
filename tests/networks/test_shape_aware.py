import pytest
import torch
from small_network import small_network
from torch.nn import functional as F

from bc_sam.networks.shape_aware import VALUES, ShapeAttention

IMAGES, MAPS = torch.randn(2, 3, 48, 48), torch.randn(2, 32, 4, 4)
MASKS = (torch.rand(2, 48, 48) > 0.5).float()


def test_the_attention_has_two_layers_of_the_published_widths():
    attention = ShapeAttention()
    assert (attention.squeeze.in_features, attention.squeeze.out_features) == (1000, 256)
    assert (attention.excite.in_features, attention.excite.out_features) == (256, 1000)
    shape = torch.randn(3, VALUES)
    expected = torch.sigmoid(attention.excite(F.relu(attention.squeeze(shape))))
    torch.testing.assert_close(attention(shape), expected)


@pytest.mark.parametrize(
    ("variant", "width"),
    [
        ("shape-aware", 3000),
        ("shape-aware without attention", 2000),
        ("shape-aware without mask", 1000),
        ("shape-aware on sam", 3000),
    ],
)
def test_the_fusion_width_matches_the_ablation(variant, width):
    config, network = small_network(variant)
    assert [layer.in_features for layer in (network.fuse, network.narrow, network.head)] == [width, 512, 256]
    assert network(IMAGES, MAPS, MASKS).shape == (2, len(config.classes))


@pytest.mark.parametrize(
    ("variant", "image", "maps", "mask"),
    [
        ("shape-aware", True, False, True),
        ("shape-aware without mask", True, False, False),
        ("shape-aware on sam", False, True, True),
    ],
)
def test_the_embedding_depends_only_on_the_inputs_of_the_variant(variant, image, maps, mask):
    _, network = small_network(variant)
    for layer in (network.fuse, network.narrow):  # the initial weights are too small for a visible effect
        torch.nn.init.normal_(layer.weight, std=0.1)
    before = network.embed(IMAGES, MAPS, MASKS)
    depends = [
        not torch.allclose(network.embed(*changed), before)
        for changed in ((IMAGES + 1, MAPS, MASKS), (IMAGES, MAPS + 1, MASKS), (IMAGES, MAPS, 1 - MASKS))
    ]
    assert depends == [image, maps, mask]


def test_dropout_is_the_papers_and_active_only_in_training():
    _, network = small_network("shape-aware")
    assert network.dropout.p == 0.4
    assert torch.equal(network(IMAGES, MAPS, MASKS), network(IMAGES, MAPS, MASKS))
    network.train()
    assert not torch.equal(network(IMAGES, MAPS, MASKS), network(IMAGES, MAPS, MASKS))


def test_the_attention_map_averages_to_the_gated_outputs():
    _, network = small_network("shape-aware on sam")
    weights = network.attention(network._shape(MASKS))
    values = F.linear(MAPS.mean(dim=(2, 3)), network.image_values.weight)
    by_position = torch.einsum("bk,kc,bchw->bhw", weights, network.image_values.weight, MAPS)
    torch.testing.assert_close(by_position.mean(dim=(1, 2)), (weights * values).sum(dim=1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.attention_maps(IMAGES, MAPS, MASKS), by_position.relu(), rtol=1e-4, atol=1e-4)


def test_every_trained_parameter_gets_a_gradient():
    _, network = small_network("shape-aware")
    network(IMAGES, MAPS, MASKS).square().mean().backward()
    assert not [name for name, tensor in network.named_parameters() if tensor.requires_grad and tensor.grad is None]
