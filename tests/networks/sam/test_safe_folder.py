"""A folder in transformers format may be untrusted: only its sizes and tensors are used."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from bc_sam.errors import WeightsError
from bc_sam.networks.sam.safe_folder import load_sam_folder

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(sam_folder, tmp_path):
    """A copy of a saved SAM that tests may modify."""
    return shutil.copytree(sam_folder, tmp_path / "sam")


@pytest.fixture
def configure(folder):
    """Changes a field of the config; a dot separates section and field."""

    def change(name, value):
        settings = json.loads((folder / "config.json").read_text())
        *parts, last = name.split(".")
        (settings[parts[0]] if parts else settings)[last] = value
        (folder / "config.json").write_text(json.dumps(settings))

    return change


def weights_of(sam):
    return {name: tensor.clone() for name, tensor in sam.state_dict().items()}


def test_a_sharded_checkpoint_gives_the_same_model(folder, sam_1024):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {name: f"model-0000{number % 2}-of-00002.safetensors" for number, name in enumerate(weights)}
    for file in set(index.values()):
        save_file({name: weights[name] for name in index if index[name] == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"weight_map": index}))
    loaded, expected = weights_of(load_sam_folder(folder, "here")), sam_1024.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_become_float32(folder, dtype):
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor.to(dtype) for name, tensor in weights.items()}, folder / "model.safetensors")
    assert {tensor.dtype for tensor in load_sam_folder(folder, "here").state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attn_implementation", "someone/kernel"),
        ("vision_config.attn_implementation", "someone/kernel"),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}),
        ("transformers_weights", "../elsewhere.safetensors"),
        ("auto_map", {"AutoModel": "someone/model--modeling.Model"}),
        ("dtype", "float16"),
        ("vision_config.torch_dtype", "none of torch's"),
    ],
)
def test_a_field_that_would_fetch_or_change_something_has_no_effect(folder, configure, no_network, name, value):
    before = weights_of(load_sam_folder(folder, "here"))
    configure(name, value)
    sam = load_sam_folder(folder, "here")
    assert all(torch.equal(before[name], tensor) for name, tensor in sam.state_dict().items())
    assert name.split(".")[-1] not in sam.config.vision_config.to_dict().keys() - {"dtype"}


def test_an_adapter_in_the_folder_is_not_loaded(folder, no_network):
    settings = {"peft_type": "LORA", "target_modules": ["qkv"], "base_model_name_or_path": "someone/else"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    assert not any("lora" in name for name, _ in load_sam_folder(folder, "here").named_parameters())


@pytest.mark.parametrize("value", [0, -1, 10**6, 10**12, 2.5, "96", True, [96], {"x": 1}])
@pytest.mark.parametrize(
    "name", ["vision_config.hidden_size", "vision_config.image_size", "mask_decoder_config.mlp_dim"]
)
def test_an_absurd_size_is_refused_by_name(folder, configure, name, value):
    configure(name, value)
    with pytest.raises(WeightsError, match=rf"here cannot be loaded.*{name.split('.')[1]} is out of range"):
        load_sam_folder(folder, "here")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vision_config.num_hidden_layers", 20_000),
        ("vision_config.window_size", 10_000),
        ("vision_config.global_attn_indexes", [0] * 10**6),
        ("vision_config.global_attn_indexes", ["0"]),
        ("vision_config.hidden_act", "os.system"),
        ("vision_config.layer_norm_eps", float("nan")),
        ("vision_config.qkv_bias", 1),
        ("mask_decoder_config.iou_head_depth", 10**5),
        ("mask_decoder_config.num_multimask_outputs", 10**9),
    ],
)
def test_an_implausible_field_is_refused_by_name(folder, configure, name, value):
    configure(name, value)
    with pytest.raises(WeightsError, match=f"{name.split('.')[1]} is out of range"):
        load_sam_folder(folder, "here")


@pytest.mark.parametrize("name", ["vision_config", "prompt_encoder_config", "mask_decoder_config"])
@pytest.mark.parametrize("value", [None, [], "large"])
def test_a_section_that_is_not_an_object_is_refused(folder, configure, name, value):
    configure(name, value)
    with pytest.raises(WeightsError, match="Config is missing"):
        load_sam_folder(folder, "here")


def test_heads_that_do_not_divide_the_channels_are_refused(folder, configure):
    configure("mask_decoder_config.num_attention_heads", 7)
    with pytest.raises(WeightsError, match="must divide"):
        load_sam_folder(folder, "here")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_not_floating_point_are_refused(folder, dtype):
    weights = load_file(folder / "model.safetensors")
    weights["vision_encoder.pos_embed"] = weights["vision_encoder.pos_embed"].to(dtype)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"vision_encoder\.pos_embed is torch\..*, not floating point"):
        load_sam_folder(folder, "here")


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/model.safetensors", "model/../x.safetensors", 3, None]
)
def test_an_index_that_points_elsewhere_is_refused(folder, name):
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"vision_encoder.pos_embed": name}}))
    with pytest.raises(WeightsError, match=r"index\.json must list only"):
        load_sam_folder(folder, "here")


@pytest.mark.parametrize("content", ["", "[", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": [1]}}'])
def test_a_broken_index_is_refused(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / INDEX).write_text(content)
    with pytest.raises(WeightsError, match="here"):
        load_sam_folder(folder, "here")
