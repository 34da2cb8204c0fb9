"""What a training starts from."""

import logging
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_model import small_model, small_sam

from bc_sam import BCSam
from bc_sam.config.labels import LABELS
from bc_sam.config.presets import network_arguments, preset
from bc_sam.training.base_model import base_digest, initial_autoencoder, new_model_config


@pytest.fixture(scope="module")
def trained():
    return BCSam.from_pretrained(classifiers=[], device="cpu")


def test_a_base_does_not_bring_the_weights_of_its_labels(trained):
    """They say what is expected where the base is used; those of the new model are settings of its training."""
    cells = SimpleNamespace(table=SimpleNamespace(domain_names=["ours"]))
    training = preset("pretrained")
    made = new_model_config(small_sam(), cells, np.arange(3), LABELS, training)
    assert (trained.config.label_weights != {}, made.label_weights) == (True, {})
    weighed = replace(training, classifiers=replace(training.classifiers, label_weights={"monocyte": 2.0}))
    assert new_model_config(small_sam(), cells, np.arange(3), LABELS, weighed).label_weights == {"monocyte": 2.0}


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


class TestDigest:
    """It identifies the content of local files that a training starts from."""

    @pytest.fixture
    def base(self, tmp_path):
        small_sam().save_pretrained(tmp_path / "base")
        return tmp_path / "base"

    @pytest.fixture
    def training(self, base):
        return replace(preset("tiny"), base=str(base))

    def test_it_changes_with_the_weights_but_not_with_their_date(self, base, training):
        before = base_digest(training)
        os.utime(base / "model.safetensors", (0, 0))
        assert base_digest(training) == before
        small_sam(seed=1).save_pretrained(base)
        assert base_digest(training) != before

    def test_a_bc_sam_model_is_known_by_its_content(self, tmp_path):
        small_model().save_pretrained(tmp_path / "model")
        training = replace(preset("tiny"), base=str(tmp_path / "model"))
        before = base_digest(training)
        small_model(seed=1).save_pretrained(tmp_path / "model")
        assert before
        assert base_digest(training) not in ("", before)

    def test_a_network_without_sam_does_not_depend_on_the_base(self, training):
        network = replace(network_arguments("resnet", "tiny"), image_backbone="tiny:resnet")
        assert base_digest(replace(training, method="resnet", network=network)) == ""

    @pytest.mark.parametrize("base", ["tiny", "facebook/sam-vit-base", "moved/away"])
    def test_what_is_not_in_a_local_file_has_none(self, base):
        assert base_digest(replace(preset("tiny"), base=base)) == ""
