from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_network import VARIANTS, small_arguments, small_network

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.config.network import BACKBONE_SIZES, BackboneConfig, NetworkArguments, NetworkConfig
from bc_sam.config.presets import preset
from bc_sam.errors import ConfigError

RESNET = {"family": "resnet", "sizes": {"hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_config_round_trips_through_a_file(variant, tmp_path):
    config = small_network(variant)[0]
    config.save(tmp_path / "network.json")
    assert NetworkConfig.load(tmp_path / "network.json") == config


@pytest.mark.parametrize("method", ["bc-sam", "slca", "shape-aware", "resnet"])
@pytest.mark.parametrize("name", ["paper", "tiny"])
def test_every_preset_round_trips(method, name):
    arguments = preset(name, method)
    assert TrainingArguments.from_dict(arguments.to_dict()) == arguments
    assert arguments.method == method


def test_the_paper_presets_have_the_published_settings():
    shape = preset("paper", "shape-aware").network
    assert (shape.optimizer, shape.learning_rate, shape.label_smoothing) == ("sgd", 1e-3, 0.1)
    assert shape.image_backbone == "microsoft/swin-base-patch4-window7-224"
    assert preset("paper", "slca").network.image_backbone == "microsoft/resnet-152"


@pytest.mark.parametrize(
    ("variant", "masks", "maps"),
    [
        ("slca", False, True),
        ("slca without attention", False, False),
        ("shape-aware", True, False),
        ("shape-aware without mask", False, False),
        ("shape-aware on sam", True, True),
        ("resnet", False, False),
    ],
)
def test_the_inputs_of_a_network_follow_from_its_method_and_ablation(variant, masks, maps):
    config = small_network(variant)[0]
    assert (config.needs_masks, config.needs_maps, config.needs_sam) == (masks, maps, masks or maps)


def test_arguments_and_config_agree_on_the_inputs_of_a_network():
    for variant in VARIANTS:
        method, arguments = small_arguments(variant)
        config = small_network(variant)[0]
        assert arguments.inputs(method) == config.inputs, variant
        assert arguments.variant(method) == variant


class TestUntrustedConfig:
    """Families are on a fixed list, and sizes are bounded."""

    @pytest.mark.parametrize(
        "family", ["timm_backbone", "vit", "auto_map", "../resnet", "", "os.system", "ResNet", "trust_remote_code"]
    )
    def test_an_unknown_family_is_rejected(self, family):
        with pytest.raises(ConfigError, match="Unknown backbone family"):
            BackboneConfig(family, {})

    @pytest.mark.parametrize(
        "sizes",
        [
            {"hidden_sizes": (10**9, 8)},
            {"depths": (10**6,)},
            {"depths": ()},
            {"depths": (-1, 2)},
            {"hidden_sizes": (8,) * 9},
            {"layer_type": "exec"},
            {"hidden_act": "torch.load"},
            {"auto_map": "x"},
            {"quantization_config": 3},
            {"embedding_size": 0},
            {"embedding_size": float("inf")},
        ],
    )
    def test_an_invalid_size_is_rejected(self, sizes):
        with pytest.raises(ConfigError, match="is not a valid size"):
            BackboneConfig("resnet", sizes)

    @pytest.mark.parametrize("window", [0, 33, 10**6])
    def test_a_window_out_of_range_is_rejected(self, window):
        with pytest.raises(ConfigError, match="is not a valid size"):
            BackboneConfig("swin", {"window_size": window})

    @given(
        st.dictionaries(
            st.sampled_from(BACKBONE_SIZES["swin"] + BACKBONE_SIZES["resnet"]),
            st.integers() | st.floats() | st.booleans() | st.text(max_size=4) | st.lists(st.integers(), max_size=9),
        )
    )
    def test_arbitrary_sizes_give_a_config_or_a_config_error(self, sizes):
        try:
            config = BackboneConfig.from_dict({"family": "swin", "sizes": sizes})
        except ConfigError:
            return
        assert set(config.sizes) <= set(BACKBONE_SIZES["swin"])

    @pytest.mark.parametrize(
        "change",
        [
            {"input_size": 10**6},
            {"grid": 0},
            {"reduction": 0},
            {"sam_channels": 7},
            {"classes": (0,)},
            {"classes": (3, 1)},
            {"classes": (0, 10**7)},
            {"image_backbone": None},
            {"mask_backbone": BackboneConfig.from_dict(RESNET)},
            {"ablation": "mask"},
        ],
    )
    def test_invalid_or_inconsistent_fields_are_rejected(self, change):
        config = NetworkConfig("resnet", BackboneConfig.from_dict(RESNET))
        with pytest.raises(ConfigError):
            replace(config, **change)

    def test_every_class_needs_a_label(self):
        network = NetworkConfig("resnet", BackboneConfig.from_dict(RESNET), classes=(0, 3))
        with pytest.raises(ConfigError, match="no label"):
            BCSamConfig(labels=("a", "b"), network=network)


def test_the_config_of_a_bc_sam_model_has_no_network_key():
    assert "network" not in BCSamConfig().to_dict()


@pytest.mark.parametrize("invalid", [{"epochs": -1}, {"batch_size": 0}, {"label_smoothing": 1.0}])
def test_arguments_out_of_range_are_rejected(invalid):
    with pytest.raises(ConfigError):
        NetworkArguments(**invalid)
