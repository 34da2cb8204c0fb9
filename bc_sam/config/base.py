"""Value types and checks that several configurations share."""

from dataclasses import dataclass
from typing import Literal

from bc_sam.errors import ConfigError

#: Width of the decoder's transposed convolutions in the original autoencoder.
PAPER_DECODER_CHANNELS = (150, 200, 256, 200, 180, 150, 128)


#: Most labels, pixels or channels that a model folder may ask for; the largest SAM has 1280 channels at 1024 px.
MOST = 4096


Protocol = Literal["strict", "paper", "leave-one-out"]


Precision = Literal["auto", "no", "bf16", "fp16"]


Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True)
class Schedule:
    """The optimization settings of one training, in the form that the training loop takes.

    Attributes:
        epochs: Passes over the data.
        batch_size: Items per optimizer step, over all processes.
        learning_rate: Peak learning rate.
        weight_decay: Weight decay.
        warmup_steps: Steps of linear warm-up before the cosine decay, in addition to `warmup_epochs`. Warm-up takes at
            most a fifth of all steps.
        warmup_epochs: Epochs of linear warm-up.
        max_grad_norm: Norm to which gradients are clipped; ``None`` does not clip.
        patience: Epochs without a lower validation loss after which to stop early; ``None`` never does.
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
    """Raises a `ConfigError` with a message unless a condition holds."""
    if not condition:
        raise ConfigError(message)
