"""Image backbones of transformers: a picture in, a map of features out. New small ones, or trained ones of the Hub.

Of a folder, and of the Hub, only sizes and tensors are read, as of a SAM (`bc_sam.networks.sam.safe_folder`).
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
from bc_sam.utils.hub import download_snapshot, is_hub_id
from bc_sam.utils.json_config import read_json
from bc_sam.utils.torch_utils import require_complete, seeded

_CLASSES = {
    "resnet": "ResNet",
    "regnet": "RegNet",
    "convnext": "ConvNext",
    "convnextv2": "ConvNextV2",
    "swin": "Swin",
    "swinv2": "Swinv2",
}
_FILES = ("config.json", "model.safetensors")

# Stages of 32, 64 and 128 channels, which end at a 16th of the image's side.
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
    """A backbone of any family as a map from images to features, with new weights.

    Args:
        config: Its family and sizes.

    Attributes:
        channels: Channels of its features.

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
        if config.family.startswith("convnext"):  # it follows the pooling, which is left to the networks here
            self.model.layernorm.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the last features (B, C, h, w) of normalised images (B, 3, S, S)."""
        features = self.model(images).last_hidden_state
        if features.ndim == 4:
            return features
        side = round(features.shape[1] ** 0.5)  # Swin lays its places out in a row
        return features.transpose(1, 2).unflatten(2, (side, side))


def tiny_backbone(family: str) -> BackboneConfig:
    """Returns the sizes of a small backbone of a family.

    Raises:
        ConfigError: If there is no such family.
    """
    if family not in _TINY:
        raise ConfigError(f"There is no small backbone tiny:{family}; choose of {', '.join(_TINY)}.")
    return BackboneConfig(family, _TINY[family])


def load_backbone(source: str, *, seed: int = 0) -> Backbone:
    """Loads a backbone; every weight comes from the source or it is an error.

    Args:
        source: Hub id or folder of an image classifier, or ``"tiny:FAMILY"`` for a small one with new weights.
        seed: Seed of new weights.

    Returns:
        The backbone, trainable, float32.

    Raises:
        ConfigError: If its family is not among `BACKBONE_SIZES`, or its sizes are out of range.
        WeightsError: If the source is not found, or does not fill the backbone exactly.
        UntrustedFileError: If it has no safetensors.
        HubError: If the Hub lacks it or cannot be reached.

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
            raise WeightsError(f"There is no folder {source}. Give a Hub id, a folder that exists, or tiny:resnet.")
        folder = download_snapshot(source, _FILES)
    config = _read_config(folder, source)
    backbone = Backbone(config)
    backbone.model = _filled(backbone.model, _read_tensors(folder, source), source)
    return backbone


def _model_class(family: str) -> Any:
    return getattr(transformers, f"{_CLASSES[family]}Model")


def _sizes_of(config: BackboneConfig) -> Any:
    kind = getattr(transformers, f"{_CLASSES[config.family]}Config")
    sizes = {name: list(value) if isinstance(value, tuple) else value for name, value in config.sizes.items()}
    try:
        return kind(**sizes)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise ConfigError(f"These are no sizes of a {config.family} backbone: {error}") from error


def _read_config(folder: Path, source: str) -> BackboneConfig:
    """Reads the sizes of a model of transformers; what else its config says is left unread."""
    found = read_json(folder / "config.json")
    family = found.get("model_type") if isinstance(found, dict) else None
    if family not in BACKBONE_SIZES:
        raise ConfigError(f"{source} is a model of type {family!r}. Choose one of {', '.join(BACKBONE_SIZES)}.")
    sizes = {name: found[name] for name in BACKBONE_SIZES[family] if found.get(name) is not None}
    return BackboneConfig.from_dict({"family": family, "sizes": sizes}, where=source)


def _read_tensors(folder: Path, source: str) -> dict[str, Tensor]:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise UntrustedFileError(f"{source} has no model.safetensors, and other formats are not opened. Convert it.")
    try:
        return {name: t.float() if t.is_floating_point() else t for name, t in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Download it again.") from error


def _filled(model: Any, tensors: dict[str, Tensor], source: str) -> Any:
    """The same model with weights from a checkpoint, whose head is left away."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}
    # It knows by what other names older checkpoints call a tensor. Given tensors, it opens no file.
    filled, report = type(model).from_pretrained(None, config=model.config, state_dict=kept, output_loading_info=True)
    unexpected = {name for name in report["unexpected_keys"] if not _is_table(name)}
    misshapen = {str(item[0]) for item in report["mismatched_keys"]}
    missing = {name for name in report["missing_keys"] if not name.endswith("num_batches_tracked")}
    require_complete(source, missing, unexpected, misshapen)
    return filled.train()


def _is_table(name: str) -> bool:
    """Whether a tensor of a Swin is no weight: it follows from the sizes, and older versions saved it."""
    return name.endswith(("relative_position_index", "relative_coords_table", "attn_mask"))


def pooled(features: Tensor) -> Tensor:
    """Returns the mean (B, C) of features (B, C, h, w) over their places."""
    return torch.mean(features, dim=(2, 3))
