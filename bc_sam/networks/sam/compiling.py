"""Compiles the encoder's blocks, which pays for itself in jobs of many thousand images."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SamModel

logger = logging.getLogger(__name__)

#: Images from which on a job is shorter with compilation than without: it takes half a minute, and saves a twentieth
#: of the time on a processor.
WORTH_COMPILING = 20_000


def compile_blocks(sam: SamModel, batch_size: int) -> bool:
    """Compiles the blocks of an encoder for batches of one size, in place; other batches go the ordinary way.

    One block is compiled and serves for all that are like it. Where there is no compiler, the model stays as it is.

    Args:
        sam: A SAM for inference, on its device and in its number format. It can no longer be copied.
        batch_size: Images a batch.

    Returns:
        Whether it is compiled now.
    """
    vision: Any = sam.config.vision_config
    blocks: Any = sam.vision_encoder.layers
    grid = vision.image_size // vision.patch_size
    compiled = torch.compile(type(blocks[0]).forward, dynamic=False)
    weight = blocks[0].mlp.lin1.weight
    example = torch.zeros(batch_size, grid, grid, vision.hidden_size, device=weight.device, dtype=weight.dtype)
    try:
        with torch.inference_mode():
            for block in blocks:
                compiled(block, example)
    except Exception as error:  # of the many kinds that compilers raise
        logger.info("The encoder is not compiled, since that fails here: %s", str(error).strip().partition("\n")[0])
        return False
    for block in blocks:
        block.forward = partial(_forward, compiled, block, batch_size)
    return True


def _forward(compiled: Callable[..., Tensor], block: nn.Module, batch_size: int, hidden: Tensor) -> Tensor:
    forward = compiled if len(hidden) == batch_size else type(block).forward
    return forward(block, hidden)
