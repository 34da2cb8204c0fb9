"""The decoder in NumPy draws what torch draws, from weights of the shapes that the config says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import LATENT_DIM, small_model

from bc_sam.errors import WeightsError
from bc_sam.models.onnx_backend.decoder import decode
from bc_sam.networks.autoencoder import CrossDomainAutoencoder

CHANNELS = (9, 8, 7, 6, 5, 4, 3)


@pytest.fixture(scope="module")
def trained():
    """An autoencoder whose normalizations have learned statistics, its weights and a config."""
    torch.manual_seed(0)
    autoencoder = CrossDomainAutoencoder(8, LATENT_DIM, CHANNELS)
    for _ in range(3):
        autoencoder(torch.randn(4, 8, 14, 14) * 3 + 1)
    weights = {name: tensor.numpy() for name, tensor in autoencoder.state_dict().items()}
    return autoencoder.eval(), weights, replace(small_model().config, decoder_channels=CHANNELS)


def test_it_draws_what_torch_draws(trained):
    autoencoder, weights, config = trained
    latents = np.random.default_rng(1).random((3, LATENT_DIM), np.float32)
    with torch.inference_mode():
        expected = autoencoder.decode(torch.from_numpy(latents)).numpy()
    assert expected.std() > 0.001
    np.testing.assert_allclose([decode(latent, config, weights) for latent in latents], expected, atol=1e-5)


@pytest.mark.parametrize("change", [None, np.zeros((6, 9, 50, 50), np.float32)])
def test_other_tensors_than_the_config_says_are_refused(trained, change):
    _, weights, config = trained
    changed = {name: tensor for name, tensor in weights.items() if name != "decoder.0.weight"}
    if change is not None:
        changed["decoder.0.weight"] = change
    with pytest.raises(WeightsError, match=r"no tensor decoder\.0\.weight of the shape \(6, 9, 5, 5\)"):
        decode(np.ones(LATENT_DIM, np.float32), config, changed)
