"""What can be set of a comparison system, and what of it goes into a model's ``config.json``: sizes, and no names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from bc_sam.config.base import Optimizer, Schedule, require
from bc_sam.errors import ConfigError
from bc_sam.utils.json_config import JsonConfig

#: Mean and deviation of ImageNet's pixels, 0..255, which the backbones of the Hub were trained with, and SAM too.
IMAGENET_MEAN = (123.675, 116.28, 103.53)


IMAGENET_STD = (58.395, 57.12, 57.375)


#: What a run trains: the method of this package, or a network that it is compared with.
Method = Literal["bc-sam", "slca", "shape-aware", "resnet"]

#: Part that an ablation removes from a network.
Part = Literal["nothing", "attention", "mask"]

#: The families of transformers that a backbone may be of, and the sizes that are read of each.
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

#: The backbone that stands for the encoder of SAM, which is frozen and needs no sizes.
SAM = "sam"

_TEXTS = ("basic", "bottleneck", "x", "y", "relu", "gelu")
_MOST, _MOST_BLOCKS, _MOST_WINDOW = 4096, 128, 32
_WINDOWS = ("window_size", "pretrained_window_sizes", "patch_size")

Size = bool | int | float | str | tuple[int, ...]


@dataclass(frozen=True)
class BackboneConfig(JsonConfig):
    """The sizes of an image backbone.

    It may come from a stranger: the family is one of a fixed list, and each value a size within reason.

    Attributes:
        family: A key of `BACKBONE_SIZES`, which transformers calls ``model_type``.
        sizes: Fields of the family's configuration in transformers.
    """

    family: str
    sizes: dict[str, Size]

    def __post_init__(self) -> None:
        known = BACKBONE_SIZES.get(self.family)
        if known is None:
            raise ConfigError(f"There is no backbone of the family {self.family!r}; choose of {list(BACKBONE_SIZES)}.")
        for name, value in self.sizes.items():
            sane = name in known and _is_sane(name, value)
            require(sane, f"{name} = {value!r} is no size of a backbone of the family {self.family}.")

    def require_size(self, input_size: int) -> None:
        """Refuses images that a Swin cannot see: its last features must hold one of its windows.

        Raises:
            ConfigError: If they are too small.
        """
        if self.family != "swin":
            return
        window, patch = self.sizes.get("window_size", 7), self.sizes.get("patch_size", 4)
        stages = self.sizes.get("depths", (2, 2, 6, 2))
        assert isinstance(window, int)
        assert isinstance(patch, int)
        assert isinstance(stages, tuple)
        least = window * patch * 2 ** (len(stages) - 1)
        require(input_size >= least, f"This Swin needs input_size of {least} or more, not {input_size}.")


def _is_sane(name: str, value: Size) -> bool:
    if isinstance(value, str):
        return value in _TEXTS
    if isinstance(value, tuple):
        if name == "depths" and sum(value) > _MOST_BLOCKS:
            return False
        most, least = (_MOST_WINDOW, 0) if name in _WINDOWS else (_MOST, 1)
        return 0 < len(value) <= 8 and all(least <= number <= most for number in value)
    if name in _WINDOWS:
        return 0 < value <= _MOST_WINDOW
    if name.endswith("_rate"):
        return 0 <= value < 1
    return isinstance(value, bool) or 0 < value <= _MOST


@dataclass(frozen=True)
class NetworkConfig(JsonConfig):
    """What must be known to build a network, as it stands in the ``config.json`` of a model folder.

    Attributes:
        method: ``"slca"``, ``"shape-aware"`` or ``"resnet"``.
        image_backbone: Backbone of the image; ``None`` where the frozen encoder of SAM takes its place.
        mask_backbone: Backbone of the mask, of the shape-aware network alone.
        classes: Index of the label that each of its outputs stands for, ascending.
        input_size: Side of the square that the backbones see, pixels.
        ablation: Part that is removed from the network in an ablation; ``"nothing"`` for the whole network.
        grid: Side of the grid of places that SLCA weighs channels at.
        reduction: Of SLCA: the channels within the module are the backbone's divided by this.
        sam_channels: Channels of the features of SAM's encoder; 0 where no SAM belongs to the model.
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
        require(32 <= self.input_size <= _MOST, f"input_size must be 32 to {_MOST}, not {self.input_size}.")
        require(0 < self.grid <= 64, f"grid must be 1 to 64, not {self.grid}.")
        require(0 < self.reduction <= _MOST, f"reduction must be 1 to {_MOST}, not {self.reduction}.")
        require(0 <= self.sam_channels <= _MOST, f"sam_channels must be 0 to {_MOST}, not {self.sam_channels}.")
        ascending = all(a < b for a, b in zip((-1, *self.classes), (*self.classes, _MOST), strict=True))
        require(len(self.classes) > 1 and ascending, "The classes of a network must be two or more, ascending.")
        for backbone in filter(None, (self.image_backbone, self.mask_backbone)):
            backbone.require_size(self.input_size)
        shape_aware = self.method == "shape-aware"
        require(shape_aware or self.image_backbone is not None, f"{self.method} needs an image backbone.")
        require((self.mask_backbone is not None) == self.needs_masks, "mask_backbone does not go with the method.")
        require(self.ablation != "mask" or shape_aware, "Only the shape-aware network has a mask to leave out.")
        require(bool(self.sam_channels) == self.needs_sam, "sam_channels does not go with the method.")

    @property
    def needs_masks(self) -> bool:
        """Whether the network sees a mask of the cell."""
        return self.method == "shape-aware" and self.ablation != "mask"

    @property
    def needs_maps(self) -> bool:
        """Whether the network sees the features of SAM's encoder."""
        return self.image_backbone is None or (self.method == "slca" and self.ablation == "nothing")

    @property
    def needs_sam(self) -> bool:
        """Whether a SAM belongs to the model: for its features, or to draw the mask."""
        return self.needs_masks or self.needs_maps


@dataclass(frozen=True)
class NetworkArguments(JsonConfig):
    """A comparison system and its training; see `network_arguments` for what each method's paper used.

    Attributes:
        image_backbone: A Hub id or folder of an image classifier of transformers, of a family of `BACKBONE_SIZES`;
            ``"tiny:FAMILY"`` for a new small one; ``"sam"`` for the frozen encoder of SAM (shape-aware only).
        mask_backbone: The same for the mask (shape-aware only).
        ablation: Part to remove: ``"nothing"``, ``"attention"``, or ``"mask"`` (shape-aware only).
        grid: Of SLCA: side of the grid of places.
        reduction: Of SLCA: how far the channels are reduced within the module.
        learn_masks: Whether SAM learns masks first, by stage 1. A frozen SAM without trained weights sees nothing.
            The shape-aware network always needs it.
        input_size: Side of the square that the backbones see, pixels.
        epochs: Passes over the labelled cells.
        warmup_epochs: Epochs of linear warm-up before the cosine.
        batch_size: Cells a step, over all processes.
        optimizer: ``"adamw"``, or ``"sgd"`` with Nesterov momentum 0.9.
        learning_rate: Peak rate.
        weight_decay: Decay.
        label_smoothing: Share of each target that is spread over all classes.
        colour_jitter: As in stage 1.
        max_grad_norm: Gradients longer than this are shortened to it; ``None`` leaves them.
        patience: Epochs without a better validation loss after which to stop; ``None`` goes on.
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
        require(self.epochs >= 0, f"A network cannot train for {self.epochs} epochs.")
        require(self.batch_size > 0, f"batch_size must be positive, not {self.batch_size}.")
        require(0 <= self.label_smoothing < 1, f"label_smoothing must lie in 0..1, not {self.label_smoothing}.")

    def schedule(self) -> Schedule:
        """Returns the optimization settings of the network's training."""
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

    def needs_masks(self, method: Method) -> bool:
        """Whether the network of a method sees a mask of the cell."""
        return method == "shape-aware" and self.ablation != "mask"

    def needs_maps(self, method: Method) -> bool:
        """Whether it sees the features of SAM's encoder."""
        return self.image_backbone == SAM or (method == "slca" and self.ablation == "nothing")

    def needs_sam(self, method: Method) -> bool:
        """Whether it needs a SAM: for its features, or to draw the mask."""
        return self.needs_masks(method) or self.needs_maps(method)

    def variant(self, method: Method) -> str:
        """Name of the method in tables, including its ablation and whether SAM is its backbone."""
        without = "" if self.ablation == "nothing" else f" without {self.ablation}"
        return f"{method}{without}{' on sam' if self.image_backbone == SAM else ''}"
