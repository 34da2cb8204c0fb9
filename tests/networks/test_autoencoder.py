import copy
import json

import numpy as np
import parity_weights
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bc_sam.networks.autoencoder import CrossDomainAutoencoder, PhasedConvTranspose2d

NARROW = (8, 8, 8, 8, 8, 8, 8)


@pytest.fixture(scope="module")
def original():
    """The autoencoder with the parity weights; loading is strict, so every name and shape matches the original."""
    model = CrossDomainAutoencoder()
    model.load_state_dict(parity_weights.state("autoencoder_original_keys.json"), strict=True)
    return model.eval()


@pytest.fixture
def narrow():
    torch.manual_seed(0)
    return CrossDomainAutoencoder(feature_channels=12, latent_dim=5, decoder_channels=NARROW)


def test_the_state_dict_matches_the_original():
    shapes = json.loads((parity_weights.PARITY / "autoencoder_original_keys.json").read_text())
    assert {key: list(tensor.shape) for key, tensor in CrossDomainAutoencoder().state_dict().items()} == shapes


def test_latents_and_reconstructions_match_the_original(original):
    expected = parity_weights.expected("autoencoder_expected.npz")
    features = np.random.RandomState(3).standard_normal((2, 768, 14, 14))
    with torch.inference_mode():
        latents, cells = original(torch.tensor(features, dtype=torch.float32))
    assert np.abs(latents.numpy() - expected["latent"]).max() <= 1e-5
    assert np.abs(cells.numpy() - expected["reconstruction"]).max() <= 1e-5


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(3, 16), st.integers(3, 16))
def test_a_feature_map_of_any_size_gives_a_latent_and_a_cell_of_128_pixels(n, height, width):
    model = CrossDomainAutoencoder(feature_channels=12, latent_dim=5, decoder_channels=NARROW).eval()
    with torch.inference_mode():
        latents, cells = model(10 * torch.randn(n, 12, height, width))
    assert latents.shape == (n, 5)
    assert (latents >= 0).all()
    assert cells.shape == (n, 3, 128, 128)
    assert cells.min() >= 0
    assert cells.max() <= 1


def test_encoding_then_decoding_is_the_forward_pass(narrow):
    features = torch.randn(2, 12, 14, 14)
    narrow.eval()
    latents, cells = narrow(features)
    assert torch.equal(latents, narrow.encode(features))
    assert torch.equal(cells, narrow.decode(latents))


def test_every_parameter_gets_a_gradient(narrow):
    latents, cells = narrow(torch.randn(4, 12, 14, 14))
    (latents.sum() + cells.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in narrow.parameters())
    assert all(p.grad.abs().sum() > 0 for name, p in narrow.named_parameters() if name.endswith("weight"))


class TestPhasedConvTranspose2d:
    @settings(max_examples=30)
    @given(
        kernel=st.integers(1, 6),
        stride=st.integers(1, 3),
        height=st.integers(1, 9),
        width=st.integers(1, 9),
        bias=st.booleans(),
    )
    def test_output_and_gradients_match_a_transposed_convolution(self, kernel, stride, height, width, bias):
        phased = PhasedConvTranspose2d(3, 4, kernel, stride, bias=bias).double()
        plain = nn.ConvTranspose2d(3, 4, kernel, stride, bias=bias).double()
        plain.load_state_dict(phased.state_dict())
        images = torch.randn(2, 3, height, width, dtype=torch.float64)
        results = []
        for layer in (phased, plain):
            x = images.clone().requires_grad_()
            y = layer(x)
            y.square().sum().backward()
            results.append([y, x.grad, *(p.grad for p in layer.parameters())])
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)

    def test_channels_last_gives_the_same_output(self, narrow):
        features = torch.randn(2, 12, 14, 14)
        channels_last = copy.deepcopy(narrow).eval().to(memory_format=torch.channels_last)
        torch.testing.assert_close(channels_last(features)[1], narrow.eval()(features)[1], rtol=1e-5, atol=1e-5)
