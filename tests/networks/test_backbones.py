import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    Swinv2Config,
    Swinv2ForImageClassification,
)

from bc_sam.config.network import BACKBONE_SIZES
from bc_sam.errors import ConfigError, UntrustedFileError, WeightsError
from bc_sam.networks.backbones import Backbone, load_backbone, pooled, tiny_backbone
from bc_sam.utils.torch_utils import seeded

RESNET = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5)
SWIN = Swinv2Config(embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, image_size=32, num_labels=5)


@pytest.fixture(params=["resnet", "swinv2"])
def classifier(request):
    """An image classifier of transformers, such as the Hub has."""
    with seeded(3):
        if request.param == "resnet":
            return ResNetForImageClassification(RESNET).eval()
        return Swinv2ForImageClassification(SWIN).eval()


@pytest.fixture
def folder(classifier, tmp_path):
    classifier.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("family", BACKBONE_SIZES)
def test_every_family_returns_a_feature_map(family):
    backbone = load_backbone(f"tiny:{family}")
    features = backbone(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, backbone.channels, 4, 4)


@pytest.mark.parametrize("family", BACKBONE_SIZES)
def test_every_trained_parameter_gets_a_gradient(family):
    """Otherwise distributed training would hang waiting for it."""
    backbone = load_backbone(f"tiny:{family}").train()
    backbone(torch.randn(2, 3, 64, 64)).square().mean().backward()
    unused = [name for name, tensor in backbone.named_parameters() if tensor.requires_grad and tensor.grad is None]
    assert not unused


def test_random_weights_are_determined_by_the_seed():
    one, same, other = (load_backbone("tiny:resnet", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_pretrained_backbone_matches_transformers(folder, classifier):
    images = torch.randn(2, 3, 32, 32)
    backbone = load_backbone(str(folder)).eval()
    body = getattr(classifier, classifier.base_model_prefix)
    with torch.inference_mode():
        expected = body(images).pooler_output.flatten(1)
        torch.testing.assert_close(pooled(backbone(images)), expected)


def test_a_backbone_loads_from_the_hub(hub, repo_id, classifier):
    classifier.push_to_hub(repo_id)
    assert load_backbone(repo_id).config.family == classifier.config.model_type


def change(folder, how):
    state = load_file(folder / "model.safetensors")
    how(state)
    save_file(state, folder / "model.safetensors")


def test_a_missing_tensor_is_an_error(folder):
    change(folder, lambda state: state.pop(next(name for name in state if "encoder" in name and state[name].ndim)))
    with pytest.raises(WeightsError, match="missing"):
        load_backbone(str(folder))


def test_an_unexpected_tensor_is_an_error(folder, classifier):
    change(folder, lambda state: state.update({f"{classifier.base_model_prefix}.more.weight": torch.ones(2)}))
    with pytest.raises(WeightsError, match="unexpected"):
        load_backbone(str(folder))


def test_a_misshapen_tensor_is_an_error(folder):
    def widen(state):
        name = next(name for name in state if "encoder" in name and state[name].ndim == 1)
        state[name] = torch.ones(len(state[name]) + 1)

    change(folder, widen)
    with pytest.raises((WeightsError, RuntimeError), match=r"shape|size"):
        load_backbone(str(folder))


def test_pickled_weights_are_not_opened(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UntrustedFileError, match="safetensors"):
        load_backbone(str(folder))


def test_damaged_weights_are_an_error(folder):
    (folder / "model.safetensors").write_bytes(b"12345678garbage")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_backbone(str(folder))


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "bert"},
        {"model_type": None},
        {"model_type": "resnet", "hidden_sizes": [10**8]},
        {"model_type": "resnet", "depths": "many"},
        {"model_type": "resnet", "layer_type": "__import__"},
    ],
)
def test_a_hostile_config_is_refused(tmp_path, change):
    (tmp_path / "config.json").write_text(json.dumps(change))
    with pytest.raises(ConfigError):
        load_backbone(str(tmp_path))


def test_only_sizes_are_read_from_a_config(folder, tmp_path_factory):
    """Neither remote code nor quantization settings have any effect."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "evil.Evil"}, "quantization_config": {"quant_method": "bitsandbytes"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit")
    assert load_backbone(str(folder)).channels == 16


@pytest.mark.parametrize("source", ["tiny:vgg", "no/such/folder/at/all", "nowhere"])
def test_an_unknown_source_says_what_to_do(source):
    with pytest.raises((ConfigError, WeightsError), match=r"tiny:"):
        load_backbone(source)


def test_sizes_that_contradict_each_other_are_an_error():
    config = tiny_backbone("resnet")
    with pytest.raises(ConfigError, match="Invalid sizes"):
        Backbone(replace(config, sizes={**config.sizes, "layer_type": "x", "hidden_act": "relu"}))


def test_a_swin_that_would_not_see_so_small_an_image_says_so():
    with pytest.raises(ConfigError, match="at least 64"):
        tiny_backbone("swin").require_size(48)
