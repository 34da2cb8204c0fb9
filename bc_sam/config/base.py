"""Value types and checks that several configurations share."""

from typing import Literal

from bc_sam.errors import ConfigError

#: Width of the decoder's transposed convolutions in the original autoencoder.
PAPER_DECODER_CHANNELS = (150, 200, 256, 200, 180, 150, 128)


#: Most labels, pixels or channels that a model folder may ask for; the largest SAM has 1280 channels at 1024 px.
MOST = 4096


Protocol = Literal["strict", "paper"]


Precision = Literal["auto", "no", "bf16", "fp16"]


def require(condition: bool, message: str) -> None:
    """Raises a `ConfigError` with a message unless a condition holds."""
    if not condition:
        raise ConfigError(message)
