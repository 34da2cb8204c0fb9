"""Compiles the encoder's blocks, which pays off for many thousands of images."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SamModel

logger = logging.getLogger(__name__)

#: Number of images above which compilation pays off: it takes half a minute and saves about 7 % of the time on a CPU
#: (30.3 instead of 32.6 ms per image with SAM ViT-B, ``benchmarks/README.md``).
WORTH_COMPILING = 20_000


class CompiledBlock(nn.Module):
    """An encoder block that runs compiled for one batch size and eagerly for others.

    Args:
        block: The block.
        compiled: Its compiled ``forward``, called with the block and its input.
        batch_size: The batch size compiled for; each further size would have to be compiled again.
    """

    def __init__(self, block: nn.Module, compiled: Callable[[nn.Module, Tensor], Tensor], batch_size: int) -> None:
        super().__init__()
        self.block, self.compiled, self.batch_size = block, compiled, batch_size

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the block's output (B, h, w, C) for its input (B, h, w, C)."""
        return self.compiled(self.block, hidden) if len(hidden) == self.batch_size else self.block(hidden)

    def __reduce__(self) -> tuple[Callable[[nn.Module], nn.Module], tuple[nn.Module]]:
        """Pickles and copies the block alone, as compiled code belongs to its process."""
        return _uncompiled, (self.block,)


def _uncompiled(block: nn.Module) -> nn.Module:
    return block


def compile_blocks(sam: SamModel, batch_size: int) -> bool:
    """Compiles the blocks of an encoder for one batch size, in place; batches of other sizes run uncompiled.

    Blocks of the same kind share one compiled function. Without a working compiler the model is left unchanged.

    Args:
        sam: A SAM for inference, on its device and in its dtype. Copies and pickles of it run uncompiled.
        batch_size: Images per batch.

    Returns:
        Whether the blocks were compiled.
    """
    vision: Any = sam.config.vision_config
    layers: Any = sam.vision_encoder.layers
    blocks: list[Any] = [layer.block if isinstance(layer, CompiledBlock) else layer for layer in layers]
    grid = vision.image_size // vision.patch_size
    compiled = torch.compile(type(blocks[0]).forward, dynamic=False)
    weight = blocks[0].mlp.lin1.weight
    example = torch.zeros(batch_size, grid, grid, vision.hidden_size, device=weight.device, dtype=weight.dtype)
    try:
        with torch.inference_mode():
            for block in blocks:
                compiled(block, example)
    except Exception as error:  # compiler backends raise many unrelated exception types
        logger.info("Compiling the encoder failed; it runs uncompiled: %s", str(error).strip().partition("\n")[0])
        return False
    for index, block in enumerate(blocks):
        layers[index] = CompiledBlock(block, compiled, batch_size)
    return True
