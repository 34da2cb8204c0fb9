"""Changes the image size or the number of mask tokens of a SAM."""

import copy
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from transformers import SamModel

from bc_sam.errors import ConfigError
from bc_sam.networks.sam.weights import build_sam


def resize_sam(sam: SamModel, image_size: int) -> SamModel:
    """Returns the model for another image size, resized as in the original.

    The position embedding is resized bilinearly, the relative positions of global-attention blocks linearly; windowed
    blocks keep theirs. The config is updated, so the result round-trips through `save_pretrained` and
    `from_pretrained`.

    Args:
        sam: Any SAM; the result shares all tensors of unchanged shape with it.
        image_size: New side of the square input, pixels; a multiple of the patch size.

    Raises:
        ConfigError: If `image_size` is not a multiple of the patch size.

    Example:
        >>> from bc_sam.networks.sam.loading import load_sam
        >>> resize_sam(load_sam("tiny"), 112).config.vision_config.image_size
        112
    """
    config: Any = copy.deepcopy(sam.config)
    if image_size == config.vision_config.image_size:
        return sam
    grid = patch_grid(image_size, config.vision_config.patch_size)
    config.vision_config.image_size = image_size
    config.prompt_encoder_config.image_size = image_size
    config.prompt_encoder_config.image_embedding_size = grid

    state = sam.state_dict()
    state["vision_encoder.pos_embed"] = _resize_positions(state["vision_encoder.pos_embed"], grid)
    for index in config.vision_config.global_attn_indexes:
        for axis in ("h", "w"):
            name = f"vision_encoder.layers.{index}.attn.rel_pos_{axis}"
            state[name] = _resize_relative_positions(state[name], grid)
    return build_sam(config, state, f"the model resized to {image_size} px")


def keep_mask_tokens(sam: SamModel, count: int) -> SamModel:
    """Returns the model with only the first `count` mask tokens in its mask decoder.

    Decoders of the original BC-SAM have two, background and cell, whereas SAM has four.

    Args:
        sam: Any SAM; the result shares all tensors of unchanged shape with it.
        count: Number of tokens to keep, from 2 to the current number.

    Raises:
        ConfigError: If `count` is out of that range.
    """
    present = sam.mask_decoder.num_mask_tokens
    if not 2 <= count <= present:
        raise ConfigError(f"Cannot keep {count} of the {present} mask tokens of this SAM; keep 2 to {present}.")
    if count == present:
        return sam
    config: Any = copy.deepcopy(sam.config)
    config.mask_decoder_config.num_multimask_outputs = count - 1

    dropped = tuple(f"mask_decoder.output_hypernetworks_mlps.{index}." for index in range(count, present))
    state = {name: tensor for name, tensor in sam.state_dict().items() if not name.startswith(dropped)}
    for part in ("mask_tokens.weight", "iou_prediction_head.proj_out.weight", "iou_prediction_head.proj_out.bias"):
        name = f"mask_decoder.{part}"
        state[name] = state[name][:count].clone()
    return build_sam(config, state, f"the model cut to {count} mask tokens")


def patch_grid(image_size: int, patch_size: int) -> int:
    """Returns the number of patches along one side of the image.

    Raises:
        ConfigError: If the image size is not a positive multiple of the patch size.
    """
    if image_size <= 0 or image_size % patch_size:
        raise ConfigError(
            f"image_size must be a positive multiple of SAM's {patch_size} px patches, not {image_size}."
        )
    return image_size // patch_size


def _resize_positions(positions: Tensor, grid: int) -> Tensor:
    """Resizes a position embedding (1, H, W, C) to (1, grid, grid, C)."""
    channels_first = positions.permute(0, 3, 1, 2)
    resized = F.interpolate(channels_first, size=(grid, grid), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1).contiguous()


def _resize_relative_positions(positions: Tensor, grid: int) -> Tensor:
    """Resizes relative positions (2 * H - 1, C) to (2 * grid - 1, C)."""
    resized = F.interpolate(positions.T[None], size=2 * grid - 1, mode="linear", align_corners=False)
    return resized[0].T.contiguous()
