"""Configuration of the comparison networks: training arguments, and what ``config.json`` stores of a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from bc_sam.config.base import MAX_SIZE, SCHEDULE_RANGES, Optimizer, Schedule, require, require_ranges
from bc_sam.errors import ConfigError
from bc_sam.utils.json_config import JsonConfig

#: Mean and standard deviation of ImageNet pixels (RGB), 0..255, used by SAM and by the pretrained backbones.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

#: Method that a run trains: BC-SAM or a comparison network.
Method = Literal["bc-sam", "slca", "shape-aware", "resnet"]

#: Component that an ablation removes from a network.
Part = Literal["nothing", "attention", "mask"]

#: Supported backbone families (``model_type`` in transformers), with the config fields that are read for each.
BACKBONE_SIZES = {
    "resnet": (
        "embedding_size",
        "hidden_sizes",
        "depths",
        "layer_type",
        "hidden_act",
        "downsample_in_first_stage",
        "downsample_in_bottleneck",
    ),
    "regnet": (
        "embedding_size",
        "hidden_sizes",
        "depths",
        "groups_width",
        "layer_type",
        "hidden_act",
        "downsample_in_first_stage",
    ),
    "convnext": ("patch_size", "num_stages", "hidden_sizes", "depths", "hidden_act", "drop_path_rate"),
    "convnextv2": ("patch_size", "num_stages", "hidden_sizes", "depths", "hidden_act", "drop_path_rate"),
    "swin": (
        "image_size",
        "patch_size",
        "embed_dim",
        "depths",
        "num_heads",
        "window_size",
        "mlp_ratio",
        "qkv_bias",
        "hidden_act",
        "drop_path_rate",
    ),
    "swinv2": (
        "image_size",
        "patch_size",
        "embed_dim",
        "depths",
        "num_heads",
        "window_size",
        "pretrained_window_sizes",
        "mlp_ratio",
        "qkv_bias",
        "hidden_act",
        "drop_path_rate",
    ),
}

#: Backbone name of the frozen SAM encoder, which needs no sizes.
SAM = "sam"

_ALLOWED_STRINGS = ("basic", "bottleneck", "x", "y", "relu", "gelu")
_MAX_BLOCKS, _MAX_WINDOW = 128, 32
_WINDOW_FIELDS = ("window_size", "pretrained_window_sizes", "patch_size")

Size = bool | int | float | str | tuple[int, ...]


@dataclass(frozen=True)
class BackboneConfig(JsonConfig):
    """Architecture of an image backbone.

    The config may be untrusted: the family must be on a fixed list, and every size is bounded.

    Attributes:
        family: Key of `BACKBONE_SIZES`; ``model_type`` in transformers.
        sizes: Fields of the family's transformers config.
    """

    family: str
    sizes: dict[str, Size]

    def __post_init__(self) -> None:
        fields = BACKBONE_SIZES.get(self.family)
        if fields is None:
            raise ConfigError(f"Unknown backbone family {self.family!r}. Choose one of {', '.join(BACKBONE_SIZES)}.")
        for name, value in self.sizes.items():
            valid = name in fields and _is_valid_size(name, value)
            require(valid, f"{name} = {value!r} is not a valid size of a {self.family} backbone.")

    def require_size(self, input_size: int) -> None:
        """Checks that the input is large enough for a Swin, whose last feature map must contain a whole window.

        Args:
            input_size: Side of the backbone's input, pixels.

        Raises:
            ConfigError: If it is too small.
        """
        if self.family != "swin":
            return
        window, patch = self.sizes.get("window_size", 7), self.sizes.get("patch_size", 4)
        stages = self.sizes.get("depths", (2, 2, 6, 2))
        assert isinstance(window, int)
        assert isinstance(patch, int)
        assert isinstance(stages, tuple)
        smallest = window * patch * 2 ** (len(stages) - 1)
        require(input_size >= smallest, f"This Swin needs an input_size of at least {smallest}, but got {input_size}.")


def _is_valid_size(name: str, value: Size) -> bool:
    if isinstance(value, str):
        return value in _ALLOWED_STRINGS
    if isinstance(value, tuple):
        if name == "depths" and sum(value) > _MAX_BLOCKS:
            return False
        low, high = (0, _MAX_WINDOW) if name in _WINDOW_FIELDS else (1, MAX_SIZE)
        return 0 < len(value) <= 8 and all(low <= size <= high for size in value)
    if name in _WINDOW_FIELDS:
        return 0 < value <= _MAX_WINDOW
    if name.endswith("_rate"):
        return 0 <= value < 1
    return isinstance(value, bool) or 0 < value <= MAX_SIZE


@dataclass(frozen=True)
class NetworkInputs:
    """What a comparison network takes as input besides the image.

    Attributes:
        masks: Whether it takes a cell mask.
        maps: Whether it takes the SAM encoder's feature maps.
    """

    masks: bool
    maps: bool

    @classmethod
    def of(cls, method: Method, ablation: Part, *, sam_backbone: bool) -> Self:
        """Returns the inputs of a network.

        Args:
            method: The comparison method.
            ablation: Component removed from the network.
            sam_backbone: Whether the frozen SAM encoder takes the place of the image backbone.

        Example:
            >>> NetworkInputs.of("slca", "nothing", sam_backbone=False)
            NetworkInputs(masks=False, maps=True)
        """
        return cls(
            masks=method == "shape-aware" and ablation != "mask",
            maps=sam_backbone or (method == "slca" and ablation == "nothing"),
        )

    @property
    def sam(self) -> bool:
        """Whether a SAM is needed, for its feature maps or to predict the mask."""
        return self.masks or self.maps


@dataclass(frozen=True)
class NetworkConfig(JsonConfig):
    """Architecture of a comparison network, as stored in ``config.json``.

    Attributes:
        method: ``"slca"``, ``"shape-aware"`` or ``"resnet"``.
        image_backbone: Backbone of the image; ``None`` if the frozen SAM encoder takes its place.
        mask_backbone: Backbone of the mask (shape-aware only).
        classes: Label index of each output, in ascending order.
        input_size: Side of the backbones' square input, pixels.
        ablation: Component removed from the network; ``"nothing"`` for the full network.
        grid: Side of the spatial grid of SLCA's channel attention.
        reduction: Channel reduction ratio within SLCA.
        sam_channels: Channels of the SAM encoder's features; 0 if the model has no SAM.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = {"left_out": "ablation"}

    method: Literal["slca", "shape-aware", "resnet"]
    image_backbone: BackboneConfig | None
    mask_backbone: BackboneConfig | None = None
    classes: tuple[int, ...] = (0, 1)
    input_size: int = 224
    ablation: Part = "nothing"
    grid: int = 4
    reduction: int = 16
    sam_channels: int = 0

    def __post_init__(self) -> None:
        ranges = {"input_size": (32, MAX_SIZE), "grid": (1, 64), "reduction": (1, MAX_SIZE)}
        require_ranges(self, {**ranges, "sam_channels": (0, MAX_SIZE)})
        ascending = all(a < b for a, b in zip((-1, *self.classes), (*self.classes, MAX_SIZE), strict=True))
        require(len(self.classes) > 1 and ascending, "classes must be two or more label indices in ascending order.")
        for backbone in filter(None, (self.image_backbone, self.mask_backbone)):
            backbone.require_size(self.input_size)
        shape_aware = self.method == "shape-aware"
        require(shape_aware or self.image_backbone is not None, f"{self.method} needs an image backbone.")
        masks = "needs" if self.needs_masks else "does not use"
        require((self.mask_backbone is not None) == self.needs_masks, f"This network {masks} a mask_backbone.")
        require(self.ablation != "mask" or shape_aware, "Only the shape-aware network has a mask to ablate.")
        sam = "needs" if self.needs_sam else "does not use"
        require(bool(self.sam_channels) == self.needs_sam, f"This network {sam} sam_channels.")

    @property
    def inputs(self) -> NetworkInputs:
        """What the network takes as input besides the image."""
        return NetworkInputs.of(self.method, self.ablation, sam_backbone=self.image_backbone is None)

    @property
    def needs_masks(self) -> bool:
        """Whether the network takes a cell mask as input."""
        return self.inputs.masks

    @property
    def needs_maps(self) -> bool:
        """Whether the network takes the SAM encoder's feature maps as input."""
        return self.inputs.maps

    @property
    def needs_sam(self) -> bool:
        """Whether the model contains a SAM, for its feature maps or to predict the mask."""
        return self.inputs.sam


@dataclass(frozen=True)
class NetworkArguments(JsonConfig):
    """Architecture and training of a comparison network; see `network_arguments` for each paper's settings.

    Attributes:
        image_backbone: Hub id or folder of a transformers image classifier of a family in `BACKBONE_SIZES`;
            ``"tiny:FAMILY"`` for a small untrained one; ``"sam"`` for the frozen SAM encoder (shape-aware only).
        mask_backbone: Likewise, for the mask (shape-aware only).
        ablation: Component to remove: ``"nothing"``, ``"attention"``, or ``"mask"`` (shape-aware only).
        grid: Side of the spatial grid of SLCA's channel attention.
        reduction: Channel reduction ratio within SLCA.
        learn_masks: Whether to fine-tune SAM in stage 1 first. A frozen SAM without trained weights has no useful
            features. The shape-aware network always needs it.
        input_size: Side of the backbones' square input, pixels.
        epochs: Epochs over the labelled cells.
        warmup_epochs: Epochs of linear warm-up before cosine decay.
        batch_size: Cells per step, over all processes.
        optimizer: ``"adamw"``, or ``"sgd"`` with Nesterov momentum 0.9.
        learning_rate: Peak learning rate.
        weight_decay: Weight decay.
        label_smoothing: Label smoothing, 0..1.
        colour_jitter: As in `SegmentationArguments`.
        max_grad_norm: Norm to which gradients are clipped; ``None`` disables clipping.
        patience: Epochs without a lower validation loss before early stopping; ``None`` disables it.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = {"left_out": "ablation"}

    image_backbone: str = "microsoft/resnet-50"
    mask_backbone: str = "microsoft/resnet-34"
    ablation: Part = "nothing"
    grid: int = 4
    reduction: int = 16
    learn_masks: bool = False
    input_size: int = 224
    epochs: int = 50
    warmup_epochs: int = 3
    batch_size: int = 32
    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    colour_jitter: float = 0.0
    max_grad_norm: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        ranges = {"grid": (1, 64), "reduction": (1, MAX_SIZE), "input_size": (32, MAX_SIZE), "colour_jitter": (0, 1)}
        require_ranges(self, {**SCHEDULE_RANGES, **ranges}, "network")
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing must be at least 0 and below 1, but is {self.label_smoothing}.",
        )

    def schedule(self) -> Schedule:
        """Returns the optimization settings for the training loop."""
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_epochs=self.warmup_epochs,
            max_grad_norm=self.max_grad_norm,
            patience=self.patience,
            optimizer=self.optimizer,
        )

    def inputs(self, method: Method) -> NetworkInputs:
        """Returns what the network of a method takes as input besides the image."""
        return NetworkInputs.of(method, self.ablation, sam_backbone=self.image_backbone == SAM)

    def variant(self, method: Method) -> str:
        """Returns the method's name in tables, with its ablation and whether SAM is its backbone."""
        without = "" if self.ablation == "nothing" else f" without {self.ablation}"
        return f"{method}{without}{' on sam' if self.image_backbone == SAM else ''}"
