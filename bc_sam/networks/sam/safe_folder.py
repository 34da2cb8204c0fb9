"""Loads a SAM from an untrusted folder in transformers format, reading only sizes and tensors.

With `SamModel.from_pretrained`, the folder's config can fetch and run a kernel from the Hub, enable quantization, load
an adapter, or point to files elsewhere. None of this is possible here.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from bc_sam.errors import ConfigError, UntrustedFileError, WeightsError
from bc_sam.networks.sam.weights import build_sam
from bc_sam.utils.json_config import read_json

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PARTS = {
    "vision_config": SamVisionConfig,
    "prompt_encoder_config": SamPromptEncoderConfig,
    "mask_decoder_config": SamMaskDecoderConfig,
}
# Upper bounds. For scale: ViT-H, the largest SAM, has 32 layers of 1280 channels, an MLP width of 5120, and windows of
# 14 patches.
_LARGE = 16384
_SMALL = 128
_SMALL_FIELDS = {"num_hidden_layers", "iou_head_depth", "num_multimask_outputs", "window_size"}
_ACTIVATIONS = ("gelu", "relu")


def load_sam_folder(folder: Path, source: str) -> SamModel:
    """Loads a SAM at the image size it was saved with.

    Args:
        folder: Folder with ``config.json`` and ``model.safetensors``, or a sharded checkpoint with its index.
        source: Origin of the folder, for error messages.

    Returns:
        The model in eval mode, float32; its tensors are copies.

    Raises:
        WeightsError: If a file is missing, damaged or not a SAM, or its tensors do not match the model.
        UntrustedFileError: If the weights exist only as a pickle.
    """
    _require_files(folder, source)
    try:
        config = _read_config(folder / _CONFIG, source)
        return build_sam(config, _read_weights(folder, source), source)
    except (OSError, ValueError, TypeError, RuntimeError, ZeroDivisionError, SafetensorError, ConfigError) as error:
        raise WeightsError(f"{source} cannot be loaded as a SamModel: {error} Save or download it again.") from error


def _require_files(folder: Path, source: str) -> None:
    if not (folder / _CONFIG).is_file():
        raise WeightsError(f"{source} has no config.json. Pass a folder written by SamModel.save_pretrained.")
    if any((folder / name).is_file() for name in (_WEIGHTS, _INDEX)):
        return
    if list(folder.glob("*.bin")):
        raise UntrustedFileError(
            f"{source} has its weights only as a pickle (.bin), which is not opened. If you trust it, convert it with "
            "SamModel.from_pretrained(folder, use_safetensors=False).save_pretrained(new_folder)."
        )
    raise WeightsError(f"{source} has no model.safetensors. Pass a folder written by SamModel.save_pretrained.")


def _read_config(path: Path, source: str) -> SamConfig:
    """Reads the sizes of a SAM and ignores every other field."""
    content = read_json(path)
    model_type = content.get("model_type") if isinstance(content, dict) else None
    if model_type != "sam":
        raise WeightsError(f"{source} has model type {model_type!r}, not 'sam'. Pass a Segment Anything model.")
    return SamConfig(**{name: kind(**_sizes(content.get(name), kind)) for name, kind in _PARTS.items()})


def _sizes(section: Any, kind: Any) -> dict[str, Any]:
    """Returns the fields of a config section that its class declares; null means the default."""
    if not isinstance(section, dict):
        raise ValueError(f"{kind.__name__} is missing.")
    defaults = kind()
    fields = {name: section[name] for name in kind.__annotations__ if section.get(name) is not None}
    for name, value in fields.items():
        if not _is_sane(name, value, getattr(defaults, name)):
            raise ValueError(f"{name} is out of range in {kind.__name__}.")
    return fields


def _is_sane(name: str, value: Any, default: Any) -> bool:
    """Whether a value has the type of the default and is plausible for a SAM."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, str):
        return value in _ACTIVATIONS
    if isinstance(default, list | tuple):
        return (
            isinstance(value, list)
            and len(value) <= _SMALL
            and all(type(index) is int and 0 <= index < _SMALL for index in value)
        )
    least = 0 if name == "window_size" or isinstance(default, float) else 1
    most = _SMALL if name in _SMALL_FIELDS else _LARGE
    return isinstance(value, type(default) | int) and least <= value <= most


def _read_weights(folder: Path, source: str) -> dict[str, Tensor]:
    """Reads every tensor as float32, and adds tied tensors under both of their names."""
    state: dict[str, Tensor] = {}
    for name in _weight_files(folder, source):
        for key, tensor in load_file(folder / name).items():
            if not tensor.is_floating_point():
                raise WeightsError(f"{source}: {key} is {tensor.dtype}, not floating point. Save the model again.")
            state[key] = tensor.to(torch.float32, copy=True)
    for copy, original in SamModel._tied_weights_keys.items():
        for absent, present in ((copy, original), (original, copy)):
            if absent not in state and present in state:
                state[absent] = state[present]
    return state


def _weight_files(folder: Path, source: str) -> list[str]:
    if (folder / _WEIGHTS).is_file():
        return [_WEIGHTS]
    index = read_json(folder / _INDEX)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    names = set(weight_map.values()) if isinstance(weight_map, Mapping) else set()
    if not names or not all(re.fullmatch(r"model[\w-]*\.safetensors", str(name)) for name in names):
        raise WeightsError(f"{source}: {_INDEX} must list only files model-*.safetensors. Save the model again.")
    return sorted(names)
