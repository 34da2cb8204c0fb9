"""The networks of the comparison systems: creating, saving, loading, and preparing their inputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bc_sam.config.network import IMAGENET_MEAN, IMAGENET_STD, SAM, Method, NetworkArguments, NetworkConfig
from bc_sam.errors import ConfigError, WeightsError
from bc_sam.networks.backbones import Backbone, load_backbone
from bc_sam.networks.sam.encoding import normalise
from bc_sam.networks.shape_aware import ShapeAwareNetwork
from bc_sam.networks.slca import ImageClassifier, SpatialChannelAttention
from bc_sam.utils.torch_utils import require_match, seeded

#: A network takes images, SAM feature maps and masks; the ones that it does not use may be empty.
CellNetwork: TypeAlias = ImageClassifier | ShapeAwareNetwork


def new_network(
    method: Method, arguments: NetworkArguments, classes: Sequence[int], sam_channels: int = 0, *, seed: int = 0
) -> tuple[NetworkConfig, CellNetwork]:
    """Creates a network with pretrained backbones; all other weights are random.

    Args:
        method: ``"slca"``, ``"shape-aware"`` or ``"resnet"``.
        arguments: The backbones and the sizes of the modules.
        classes: Label index of each output, ascending.
        sam_channels: Channels of SAM's feature map, for networks that use SAM.
        seed: Seed of the random weights.

    Returns:
        The config and the network.

    Raises:
        ConfigError: If the arguments do not fit the method.
        WeightsError: If a backbone is not found, or its tensors do not match.

    Example:
        >>> from bc_sam.config.presets import network_arguments
        >>> config, network = new_network("resnet", network_arguments("resnet", "tiny"), (0, 3))
        >>> network.head.out_features
        2
    """
    if method == "bc-sam":
        raise ConfigError("BC-SAM is not a single network. Choose slca, shape-aware or resnet.")
    uses_sam_encoder = arguments.image_backbone == SAM
    image = None if uses_sam_encoder else load_backbone(arguments.image_backbone, seed=seed)
    mask = load_backbone(arguments.mask_backbone, seed=seed + 1) if arguments.inputs(method).masks else None
    config = NetworkConfig(
        method=method,
        image_backbone=None if image is None else image.config,
        mask_backbone=None if mask is None else mask.config,
        classes=tuple(int(index) for index in classes),
        input_size=arguments.input_size,
        ablation=arguments.ablation,
        grid=arguments.grid,
        reduction=arguments.reduction,
        sam_channels=sam_channels if arguments.inputs(method).sam else 0,
    )
    with seeded(seed + 2):
        return config, _assemble(config, image, mask)


def save_network(network: CellNetwork, path: Path) -> None:
    """Writes the weights of a network as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, path)


def load_network(config: NetworkConfig, path: Path) -> CellNetwork:
    """Loads a network written by `save_network`, in eval mode.

    The config may be untrusted: no memory is allocated for the network before its sizes are known to match the tensors
    in the file.

    Raises:
        WeightsError: If the file is damaged, or its tensors do not match the network.
        ConfigError: If the config does not describe a valid network.
    """
    try:
        tensors = load_file(path)
        with torch.device("meta"):
            skeleton = _untrained(config)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Save or download the model again.") from error
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError, IndexError, AttributeError) as error:
        raise ConfigError(
            f"The config of {path.parent.parent} does not describe a valid network: {error}. Download the model again."
        ) from error
    require_match(skeleton.state_dict(), tensors, str(path))
    network = _untrained(config)
    network.load_state_dict(tensors, strict=True)
    return network.eval()


def network_inputs(pixels: Tensor, maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Converts pixels, feature maps and masks into the inputs of a network.

    Args:
        pixels: (B, s, s, 3), 0..255, at the network's input size.
        maps: (B, C, h, w) float16, or empty.
        masks: (B, s, s), 0 or 1, or empty.

    Returns:
        Images (B, 3, s, s) with ImageNet normalization, maps and masks, all float32.
    """
    return normalise(pixels, IMAGENET_MEAN, IMAGENET_STD), maps.float(), masks.float()


def shrunk(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes an image (S, S, 3) uint8 bilinearly with antialiasing, or a mask (S, S) bool, to `size` pixels a side.

    Example:
        >>> shrunk(np.zeros((224, 224, 3), np.uint8), 96).shape
        (96, 96, 3)
    """
    if image.dtype == bool:
        mask = Image.fromarray(image).resize((size, size), Image.Resampling.NEAREST)
        return np.asarray(mask, dtype=np.uint8)
    if image.shape[0] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def head_weights(network: CellNetwork) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weight (k, d) and bias (k,), float64, of the classification head."""
    weight, bias = (part.detach().cpu().double().numpy() for part in (network.head.weight, network.head.bias))
    return weight, bias


def _untrained(config: NetworkConfig) -> CellNetwork:
    image = None if config.image_backbone is None else Backbone(config.image_backbone)
    mask = None if config.mask_backbone is None else Backbone(config.mask_backbone)
    return _assemble(config, image, mask)


def _assemble(config: NetworkConfig, image: Backbone | None, mask: Backbone | None) -> CellNetwork:
    n_classes = len(config.classes)
    if config.method == "shape-aware":
        return ShapeAwareNetwork(image or config.sam_channels, mask, n_classes, attention=config.ablation == "nothing")
    assert image is not None
    attention = None
    if config.needs_maps:
        attention = SpatialChannelAttention(config.sam_channels, image.channels, config.grid, config.reduction)
    return ImageClassifier(image, n_classes, attention)
