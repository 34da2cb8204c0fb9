"""A network of any comparison system: made anew, written to a model folder, read from one, given what it sees."""

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

#: A network takes images, features of SAM and masks, each of which may be empty where it has no need of it.
CellNetwork: TypeAlias = ImageClassifier | ShapeAwareNetwork


def new_network(
    method: Method, arguments: NetworkArguments, classes: Sequence[int], sam_channels: int = 0, *, seed: int = 0
) -> tuple[NetworkConfig, CellNetwork]:
    """Makes a network whose backbones have the weights that their sources have, and all else new ones.

    Args:
        method: ``"slca"``, ``"shape-aware"`` or ``"resnet"``.
        arguments: Which backbones, and the sizes of the modules.
        classes: Index of the label of each output, ascending.
        sam_channels: Channels of the features of SAM's encoder, where the network needs a SAM.
        seed: Seed of the new weights.

    Returns:
        Its config and the network.

    Raises:
        ConfigError: If the arguments do not fit the method.
        WeightsError: If a backbone is not found, or is not filled exactly.

    Example:
        >>> from bc_sam.config.network import network_arguments
        >>> config, network = new_network("resnet", network_arguments("resnet", "tiny"), (0, 3))
        >>> network.head.out_features
        2
    """
    if method == "bc-sam":
        raise ConfigError("BC-SAM is no single network. Choose slca, shape-aware or resnet.")
    of_sam = arguments.image_backbone == SAM
    image = None if of_sam else load_backbone(arguments.image_backbone, seed=seed)
    mask = load_backbone(arguments.mask_backbone, seed=seed + 1) if arguments.needs_masks(method) else None
    config = NetworkConfig(
        method=method,
        image_backbone=None if image is None else image.config,
        mask_backbone=None if mask is None else mask.config,
        classes=tuple(int(index) for index in classes),
        input_size=arguments.input_size,
        ablation=arguments.ablation,
        grid=arguments.grid,
        reduction=arguments.reduction,
        sam_channels=sam_channels if arguments.needs_sam(method) else 0,
    )
    with seeded(seed + 2):
        return config, _assemble(config, image, mask)


def save_network(network: CellNetwork, path: Path) -> None:
    """Writes the weights of a network."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, path)


def load_network(config: NetworkConfig, path: Path) -> CellNetwork:
    """Reads what `save_network` wrote.

    The config may come from a stranger: nothing is built in earnest before the sizes it tells are those of the tensors
    in the file.

    Raises:
        WeightsError: If the file is damaged, or does not fill the network exactly.
        ConfigError: If the config's sizes make no network.
    """
    try:
        tensors = load_file(path)
        with torch.device("meta"):
            sketch = _empty(config)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Save or download the model again.") from error
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError, IndexError, AttributeError) as error:
        raise ConfigError(f"The config of {path.parent.parent} makes no network: {error}") from error
    require_match(sketch.state_dict(), tensors, str(path))
    network = _empty(config)
    network.load_state_dict(tensors, strict=True)
    return network.eval()


def network_inputs(pixels: Tensor, maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turns what is known of cells into what a network takes.

    Args:
        pixels: (B, s, s, 3), 0..255, of the side that the network sees.
        maps: (B, C, h, w) float16, or empty.
        masks: (B, s, s), 0 or 1, or empty.

    Returns:
        Images (B, 3, s, s), normalised as ImageNet's were; maps and masks; all float32.
    """
    return normalise(pixels, IMAGENET_MEAN, IMAGENET_STD), maps.float(), masks.float()


def shrunk(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes an image (S, S, 3) uint8 bilinearly with antialiasing, or a mask (S, S) bool, to a square of some side.

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
    """Returns the weight (k, d) and bias (k,), float64, of a network's last layer."""
    weight, bias = (part.detach().cpu().double().numpy() for part in (network.head.weight, network.head.bias))
    return weight, bias


def _empty(config: NetworkConfig) -> CellNetwork:
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
