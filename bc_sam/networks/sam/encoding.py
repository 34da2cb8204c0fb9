"""The two forward passes of SAM: pixels to feature map, and feature map to cell mask."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor
from transformers import SamModel

from bc_sam.errors import ConfigError

#: A SAM, with or without LoRA.
Sam = SamModel | PeftModel

#: Which mask tokens of the decoder predict the cell; see `cell_logits`.
MaskTokens = Literal["single", "two"]


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Converts RGB pixels to normalized input, on the pixels' device.

    Args:
        pixels: Images (B, S, S, 3), uint8.
        mean: Per-channel mean, 0..255.
        std: Per-channel standard deviation, 0..255.

    Returns:
        Pixel values (B, 3, S, S), float32, contiguous.

    Example:
        >>> normalise(torch.zeros(2, 224, 224, 3, dtype=torch.uint8), (215.0, 188.0, 200.0), (41.0, 57.0, 22.0)).shape
        torch.Size([2, 3, 224, 224])
    """
    shift = torch.tensor(mean, dtype=torch.float32, device=pixels.device)
    scale = torch.tensor(std, dtype=torch.float32, device=pixels.device)
    return ((pixels.float() - shift) / scale).permute(0, 3, 1, 2).contiguous()


def encode(sam: Sam, pixel_values: Tensor) -> Tensor:
    """Runs the image encoder up to its neck; differentiable.

    The blocks are called directly because the encoder's `forward` returns the state before the neck only together with
    every other hidden state.

    Args:
        sam: The model.
        pixel_values: Normalized images (B, 3, S, S), float, at the model's image size S.

    Returns:
        The last hidden state before the neck, the feature map of BC-SAM (section 2.1): (B, C, h, w), contiguous, where
        C is the encoder's width and h = w the side of its patch grid.

    Example:
        >>> from bc_sam.networks.sam.loading import load_sam
        >>> encode(load_sam("tiny"), torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 256, 14, 14])
    """
    encoder = sam.vision_encoder
    hidden = encoder.patch_embed(pixel_values)
    if encoder.pos_embed is not None:
        hidden = hidden + encoder.pos_embed
    for layer in encoder.layers:
        hidden = layer(hidden)
    return hidden.permute(0, 3, 1, 2).contiguous()


def image_embeddings(sam: Sam, features: Tensor) -> Tensor:
    """Returns the input of the mask decoder, the features after the encoder's neck: (B, 256, h, w)."""
    return sam.vision_encoder.neck(features.permute(0, 2, 3, 1))


def feature_shape(sam: Sam) -> tuple[int, int, int]:
    """Returns the shape (C, h, w) of the features that `encode` returns for one image."""
    vision: Any = sam.config.vision_config
    grid = vision.image_size // vision.patch_size
    return vision.hidden_size, grid, grid


def cell_logits(sam: Sam, features: Tensor, *, mask_tokens: MaskTokens = "single") -> Tensor:
    """Segments the cell without a prompt; differentiable.

    With the null prompt there are no points and no box: the decoder attends only to its own output tokens, and to the
    learned `no_mask_embed` at every position instead of a mask.

    Args:
        sam: The model.
        features: Features (B, C, h, w) from `encode`.
        mask_tokens: ``"single"`` uses SAM's single-mask token. ``"two"`` is for checkpoints of the original BC-SAM,
            whose decoder has a softmax over two tokens, background and cell; the sigmoid of the difference of their
            masks equals that softmax.

    Returns:
        Logits of the cell (B, 4 h, 4 w), float; positive inside the cell.

    Raises:
        ConfigError: If `mask_tokens` is ``"two"`` and the decoder does not have exactly two tokens.
    """
    # The decoder keeps its own dtype: it is cheap, and it determines the outline.
    embeddings = image_embeddings(sam, features).to(sam.mask_decoder.iou_token.weight.dtype)
    single = sam(image_embeddings=embeddings, multimask_output=False).pred_masks[:, 0, 0]
    if mask_tokens == "single":
        return single
    if sam.mask_decoder.num_mask_tokens != 2:
        raise ConfigError(
            f"mask_tokens='two' needs a decoder with 2 mask tokens, this one has {sam.mask_decoder.num_mask_tokens}. "
            "Set mask_tokens='single'."
        )
    # transformers returns either the first token's mask or the others; a second decoder pass is cheap.
    return sam(image_embeddings=embeddings, multimask_output=True).pred_masks[:, 0, 0] - single


def upsample_logits(logits: Tensor, size: int) -> Tensor:
    """Resizes logits (B, h, w) bilinearly to (B, size, size)."""
    return F.interpolate(logits[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def freeze_unused(sam: Sam, *, mask_tokens: MaskTokens = "single") -> None:
    """Freezes the parameters of prompt encoder and mask decoder that get no gradient from `cell_logits`.

    These are the embeddings of points, boxes and masks, the mask quality head, and the heads of unused mask tokens.
    Left trainable, they would make `DistributedDataParallel` wait for gradients that never arrive, and weight decay
    would shrink them.
    """
    for name, parameter in sam.prompt_encoder.named_parameters():
        if "no_mask_embed" not in name:
            parameter.requires_grad_(False)
    decoder = sam.mask_decoder
    n_used = 1 if mask_tokens == "single" else 2
    for unused in (decoder.iou_prediction_head, *decoder.output_hypernetworks_mlps[n_used:]):
        unused.requires_grad_(False)
