"""What a training starts from."""

import logging
from dataclasses import replace

import pytest
import torch

from bc_sam import BCSam
from bc_sam.config.presets import preset
from bc_sam.training.base_model import initial_autoencoder


@pytest.fixture(scope="module")
def trained():
    return BCSam.from_pretrained(classifiers=[], device="cpu")


def test_a_bc_sam_base_brings_its_autoencoder(trained, caplog):
    with caplog.at_level(logging.INFO, "bc_sam"):
        started = initial_autoencoder(trained.config, preset("pretrained"))
    assert "starts from the autoencoder of bc-sam-tiny" in caplog.text
    expected = trained.autoencoder.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in started.state_dict().items())


def test_an_autoencoder_of_another_shape_is_reported_and_not_used(trained, caplog):
    config = replace(trained.config, latent_dim=20)
    with caplog.at_level(logging.INFO, "bc_sam"):
        started = initial_autoencoder(config, preset("pretrained"))
    assert "has another shape: stage 2 starts from random weights" in caplog.text
    assert started.latent_dim == 20


def test_other_bases_start_from_random_weights_of_the_seed(trained):
    first, second = (initial_autoencoder(trained.config, preset("tiny")) for _ in range(2))
    other = initial_autoencoder(trained.config, replace(preset("tiny"), seed=1))
    weights = [model.encoder[0].weight for model in (first, second, other, trained.autoencoder)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])
