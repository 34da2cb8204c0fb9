"""Types, limits and checks shared by the configuration dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bc_sam.errors import ConfigError

#: Channels of the decoder's transposed convolutions in the original autoencoder.
PAPER_DECODER_CHANNELS = (150, 200, 256, 200, 180, 150, 128)

#: Kernel size and stride of the decoder's transposed convolutions: 1 px grows to 5, 12, 14, 31, 63, 127 and 128 px.
DECODER_LAYERS = ((5, 1), (4, 2), (3, 1), (5, 2), (3, 2), (3, 2), (2, 1))

#: Upper bound on labels, pixels and channels in an untrusted config; the largest SAM has 1280 channels at 1024 px.
MAX_SIZE = 4096

Protocol = Literal["strict", "paper", "leave-one-out"]

Precision = Literal["auto", "no", "bf16", "fp16"]

Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True)
class Schedule:
    """Optimization settings of one training stage, as the training loop takes them.

    Attributes:
        epochs: Number of epochs.
        batch_size: Items per optimizer step, over all processes.
        learning_rate: Peak learning rate.
        weight_decay: Weight decay.
        warmup_steps: Steps of linear warm-up before cosine decay, in addition to `warmup_epochs`. It takes at most
            a fifth of all steps.
        warmup_epochs: Epochs of linear warm-up.
        max_grad_norm: Norm to which gradients are clipped; ``None`` disables clipping.
        patience: Epochs without a lower validation loss before early stopping; ``None`` disables it.
        optimizer: ``"adamw"``, or ``"sgd"`` with Nesterov momentum 0.9.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int = 0
    warmup_epochs: int = 0
    max_grad_norm: float | None = None
    patience: int | None = None
    optimizer: Optimizer = "adamw"


#: Ranges of the optimization settings of every stage, for `require_ranges`.
SCHEDULE_RANGES: Mapping[str, tuple[float, float]] = {
    "epochs": (0, 100_000),
    "warmup_epochs": (0, 100_000),
    "warmup_steps": (0, 10**9),
    "batch_size": (1, 65_536),
    "learning_rate": (0, 10),
    "weight_decay": (0, 10),
    "max_grad_norm": (1e-6, 1e6),
    "patience": (1, 100_000),
}

#: Range of seeds: NumPy and scikit-learn take 32 bits, and some splits use the next seed.
SEEDS = (0, 2**32 - 2)


def require_ranges(config: Any, ranges: Mapping[str, tuple[float, float]], section: str = "") -> None:
    """Checks that fields of a config lie in ranges, bounds included; NaN lies in none.

    Args:
        config: The config. Fields that it lacks, or that are ``None``, are not checked.
        ranges: Lowest and highest value of each field, or of each of its items.
        section: Name of the config in that of a run, for error messages.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> require_ranges(Schedule(1, 8, float("nan"), 0.0), SCHEDULE_RANGES, "segmentation")
        Traceback (most recent call last):
        bc_sam.errors.ConfigError: segmentation.learning_rate must be between 0 and 10, but is nan.
    """
    for name, (low, high) in ranges.items():
        value = getattr(config, name, None)
        items = value if isinstance(value, tuple) else () if value is None else (value,)
        where = f"{section}.{name}" if section else name
        require(
            all(low <= item <= high for item in items), f"{where} must be between {low} and {high}, but is {value}."
        )


def require(condition: bool, message: str) -> None:
    """Raises a `ConfigError` with the given message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def require_label_weights(weights: Mapping[str, float]) -> None:
    """Raises a ConfigError unless all weights of labels are plausible: between 0.001 and 1,000."""
    for label, weight in weights.items():
        require(0.001 <= weight <= 1000, f"The weight of {label} must be between 0.001 and 1,000, but is {weight}.")
