from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_network import CLASSES, VARIANTS, small_arguments, small_network

from bc_sam.classifiers.softmax_head import head_classifier
from bc_sam.errors import ConfigError, WeightsError
from bc_sam.networks.cell_network import head_weights, load_network, network_inputs, new_network, save_network, shrunk

INPUTS = torch.randn(2, 3, 48, 48), torch.randn(2, 32, 4, 4), torch.ones(2, 48, 48)


@pytest.mark.parametrize("variant", VARIANTS)
def test_saving_and_loading_round_trips(variant, tmp_path):
    config, network = small_network(variant)
    save_network(network, tmp_path / "network" / "model.safetensors")
    loaded = load_network(config, tmp_path / "network" / "model.safetensors")
    assert torch.equal(loaded(*INPUTS), network(*INPUTS))


class TestUntrustedNetwork:
    @pytest.fixture
    def path(self, tmp_path):
        save_network(small_network("slca")[1], tmp_path / "network" / "model.safetensors")
        return tmp_path / "network" / "model.safetensors"

    @pytest.mark.parametrize(
        "change",
        [
            {"grid": 4, "reduction": 2},
            {"classes": (0, 1, 2, 3)},
            {"sam_channels": 33},
            {"ablation": "attention", "sam_channels": 0},
        ],
    )
    def test_a_config_that_does_not_match_the_file_is_refused(self, path, change):
        with pytest.raises(WeightsError, match="do not match the model"):
            load_network(replace(small_network("slca")[0], **change), path)

    def test_huge_sizes_are_refused_before_memory_is_allocated(self, path):
        config, _ = small_network("slca")
        huge = replace(config.image_backbone, sizes={"hidden_sizes": (4096,) * 8, "depths": (16,) * 8})
        with pytest.raises((WeightsError, ConfigError)):
            load_network(replace(config, image_backbone=huge), path)

    def test_a_damaged_file_is_refused(self, path):
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(WeightsError, match="cannot be read"):
            load_network(small_network("slca")[0], path)

    def test_missing_and_unexpected_tensors_are_named(self, path):
        state = load_file(path)
        state["intruder"] = state.pop("head.bias")
        save_file(state, path)
        with pytest.raises(WeightsError, match=r"missing: head\.bias.*unexpected: intruder"):
            load_network(small_network("slca")[0], path)


def test_bc_sam_is_not_a_single_network():
    with pytest.raises(ConfigError, match="not a single network"):
        new_network("bc-sam", small_arguments("resnet")[1], CLASSES)


def test_only_the_shape_aware_network_accepts_sam_as_a_backbone():
    with pytest.raises((ConfigError, WeightsError), match=r"backbone|folder"):
        new_network("slca", small_arguments("slca", image_backbone="sam")[1], CLASSES, 32)


def test_the_head_on_embeddings_gives_the_probabilities_of_the_whole_network():
    config, network = small_network("slca")
    with torch.inference_mode():
        expected = torch.softmax(network(*INPUTS), dim=1).numpy()
        embeddings = network.embed(*INPUTS).numpy()
    probabilities = head_classifier(*head_weights(network), config.classes, 13).predict_proba(embeddings)
    assert probabilities.shape == (2, 13)
    np.testing.assert_allclose(probabilities[:, CLASSES], expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_pixels_are_normalized_with_imagenet_statistics():
    pixels = torch.tensor([[[[124, 116, 104]]]], dtype=torch.uint8)
    images, _, _ = network_inputs(pixels, torch.empty(0), torch.empty(0))
    assert images.shape == (1, 3, 1, 1)
    assert images.abs().max() < 0.01


def test_resizing_averages_an_image_and_keeps_a_mask_binary():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 200
    small = shrunk(image, 16)
    assert small.shape == (16, 16, 3)
    assert abs(int(small.mean()) - 100) <= 1
    assert set(np.unique(shrunk(image[..., 0] > 0, 16))) == {0, 1}
