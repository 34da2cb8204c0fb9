"""Types, limits and checks shared by the configuration dataclasses."""

from dataclasses import dataclass
from typing import Literal

from bc_sam.errors import ConfigError

#: Channels of the decoder's transposed convolutions in the original autoencoder.
PAPER_DECODER_CHANNELS = (150, 200, 256, 200, 180, 150, 128)

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


def require(condition: bool, message: str) -> None:
    """Raises a `ConfigError` with the given message unless the condition holds."""
    if not condition:
        raise ConfigError(message)
