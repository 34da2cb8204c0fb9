"""Image backbones from transformers that return feature maps: small untrained ones, or pretrained ones from the Hub.

Only sizes and tensors are read from a checkpoint, as for SAM (`bc_sam.networks.sam.safe_folder`).
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bc_sam.config.network import BACKBONE_SIZES, BackboneConfig
from bc_sam.errors import ConfigError, UntrustedFileError, WeightsError
from bc_sam.utils.hub import download_snapshot
from bc_sam.utils.json_config import read_json
from bc_sam.utils.model_source import is_hub_id
from bc_sam.utils.torch_utils import require_complete, seeded

# A new family also needs its config fields in `bc_sam.config.network.BACKBONE_SIZES`.
_CLASSES = {
    "resnet": "ResNet",
    "regnet": "RegNet",
    "convnext": "ConvNext",
    "convnextv2": "ConvNextV2",
    "swin": "Swin",
    "swinv2": "Swinv2",
}
_FILES = ("config.json", "model.safetensors")

# Three stages of 32, 64 and 128 channels; the output stride is 16.
_TINY: dict[str, dict[str, Any]] = {
    "resnet": {"embedding_size": 32, "hidden_sizes": (32, 64, 128), "depths": (2, 2, 2), "layer_type": "basic"},
    "regnet": {
        "embedding_size": 32,
        "hidden_sizes": (32, 64, 128),
        "depths": (1, 1, 1),
        "groups_width": 16,
        "layer_type": "x",
    },
    "convnext": {"num_stages": 3, "hidden_sizes": (32, 64, 128), "depths": (2, 2, 2)},
    "convnextv2": {"num_stages": 3, "hidden_sizes": (32, 64, 128), "depths": (2, 2, 2)},
    "swin": {"embed_dim": 32, "depths": (2, 2, 2), "num_heads": (2, 4, 8), "window_size": 4},
    "swinv2": {"embed_dim": 32, "depths": (2, 2, 2), "num_heads": (2, 4, 8), "window_size": 4},
}


class Backbone(nn.Module):
    """A randomly initialized backbone of any family that returns a feature map.

    Args:
        config: Family and sizes.

    Attributes:
        channels: Channels of the feature map.

    Example:
        >>> backbone = Backbone(tiny_backbone("resnet"))
        >>> backbone(torch.zeros(1, 3, 96, 96)).shape
        torch.Size([1, 128, 6, 6])
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.model: Any = _model_class(config.family)(_sizes_of(config))
        sizes = self.model.config
        self.channels: int = getattr(sizes, "hidden_size", None) or sizes.hidden_sizes[-1]
        if config.family.startswith("convnext"):  # applied after the pooling, which is not used here
            self.model.layernorm.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the last feature map (B, C, h, w) of normalized images (B, 3, S, S)."""
        features = self.model(images).last_hidden_state
        if features.ndim == 4:
            return features
        side = round(features.shape[1] ** 0.5)  # Swin returns a sequence (B, h w, C)
        return features.transpose(1, 2).unflatten(2, (side, side))


def tiny_backbone(family: str) -> BackboneConfig:
    """Returns the config of a small backbone.

    Raises:
        ConfigError: If the family is unknown.
    """
    if family not in _TINY:
        raise ConfigError(f"Unknown backbone family in tiny:{family}. Choose one of {', '.join(_TINY)}.")
    return BackboneConfig(family, _TINY[family])


def load_backbone(source: str, *, seed: int = 0) -> Backbone:
    """Loads a backbone; the checkpoint must match it exactly.

    Args:
        source: Hub id or folder of an image classifier, or ``"tiny:FAMILY"`` for a small one with random weights.
        seed: Seed of random weights.

    Returns:
        The backbone, trainable, float32.

    Raises:
        ConfigError: If its family is not in `BACKBONE_SIZES`, or its sizes are out of range.
        WeightsError: If the source is not found, or its tensors do not match the backbone.
        UntrustedFileError: If it has no safetensors file.
        HubError: If the repository does not exist or the Hub cannot be reached.

    Example:
        >>> load_backbone("tiny:swinv2").channels
        128
    """
    kind, _, family = source.partition(":")
    if kind == "tiny":
        with seeded(seed):
            return Backbone(tiny_backbone(family))
    folder = Path(source)
    if not folder.is_dir():
        if not is_hub_id(source):
            raise WeightsError(f"There is no folder {source}. Pass a Hub id, an existing folder, or tiny:resnet.")
        folder = download_snapshot(source, _FILES)
    config = _read_config(folder, source)
    backbone = Backbone(config)
    backbone.model = _load_weights(backbone.model, _read_tensors(folder, source), source)
    return backbone


def _model_class(family: str) -> Any:
    return getattr(transformers, f"{_CLASSES[family]}Model")


def _sizes_of(config: BackboneConfig) -> Any:
    kind = getattr(transformers, f"{_CLASSES[config.family]}Config")
    sizes = {name: list(value) if isinstance(value, tuple) else value for name, value in config.sizes.items()}
    try:
        return kind(**sizes)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise ConfigError(f"Invalid sizes for a {config.family} backbone: {error}") from error


def _read_config(folder: Path, source: str) -> BackboneConfig:
    """Reads the sizes from a transformers config and ignores every other field."""
    content = read_json(folder / "config.json")
    family = content.get("model_type") if isinstance(content, dict) else None
    if family not in BACKBONE_SIZES:
        raise ConfigError(
            f"{source} has the unsupported model type {family!r}. Choose one of {', '.join(BACKBONE_SIZES)}."
        )
    sizes = {name: content[name] for name in BACKBONE_SIZES[family] if content.get(name) is not None}
    return BackboneConfig.from_dict({"family": family, "sizes": sizes}, where=source)


def _read_tensors(folder: Path, source: str) -> dict[str, Tensor]:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise UntrustedFileError(
            f"{source} has no model.safetensors, and other formats are not opened. Convert it to safetensors."
        )
    try:
        return {name: t.float() if t.is_floating_point() else t for name, t in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Download it again.") from error


def _load_weights(model: Any, tensors: dict[str, Tensor], source: str) -> Any:
    """Returns the model with the checkpoint's weights; the checkpoint's classification head is dropped."""
    body = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}
    # from_pretrained knows the tensor names of older checkpoints. Given a state dict, it opens no file.
    loaded, report = type(model).from_pretrained(None, config=model.config, state_dict=body, output_loading_info=True)
    unexpected = {name for name in report["unexpected_keys"] if not _is_derived(name)}
    misshapen = {str(item[0]) for item in report["mismatched_keys"]}
    missing = {name for name in report["missing_keys"] if not name.endswith("num_batches_tracked")}
    require_complete(source, missing, unexpected, misshapen)
    return loaded.train()


def _is_derived(name: str) -> bool:
    """Whether a Swin tensor is a lookup table computed from the sizes, which older versions saved with the weights."""
    return name.endswith(("relative_position_index", "relative_coords_table", "attn_mask"))


def pooled(features: Tensor) -> Tensor:
    """Returns the spatial mean (B, C) of a feature map (B, C, h, w)."""
    return torch.mean(features, dim=(2, 3))
