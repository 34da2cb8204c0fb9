"""The encoder's attention without a bias matrix: SAM's relative positions are folded into the dot product.

SAM adds a row bias and a column bias to the score of a query at (y, x) and a key at (v, u):

    q · k + r_y[v] + c_x[u]        r_y[v] = q · R[y - v],   c_x[u] = q · C[x - u]

The sum is one longer dot product, of the query concatenated with its biases and the key concatenated with the one-hot
encodings of its row and column,

    [q, r_y, c_x] · [k, e_v, e_u]

so that plain attention remains, for which fused kernels never materialize the score matrix.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import SamModel, SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionAttention

# Up to this many tokens, materializing the scores is three times as fast on a CPU as PyTorch's fused kernel, and they
# take less memory than the layer's activations. At 224 px there are 196 tokens. Measured by
# benchmarks/embedding.py (224 px) and benchmarks/attention_memory.py (1024 px).
_FEW_TOKENS = 1024


class FusedBiasAttention(SamVisionAttention):
    """SAM's attention, computed as described above; parameter names, shapes and results match transformers."""

    @classmethod
    def from_library(cls, attention: SamVisionAttention, config: SamVisionConfig, window_size: int) -> Self:
        """Returns an equivalent of transformers' attention that shares its tensors.

        Args:
            attention: Attention of one block.
            config: Config of its encoder.
            window_size: Side of the block's windows in patches; 0 for global attention.
        """
        with torch.device("meta"):
            fused = cls(config, window_size)
        for name, part in (*attention.named_children(), *attention.named_parameters(recurse=False)):
            setattr(fused, name, part)
        fused.use_rel_pos = attention.use_rel_pos
        return fused.train(attention.training)

    def forward(  # type: ignore[override]  # transformers annotates weights that are never returned
        self, hidden_states: Tensor, output_attentions: bool | None = None
    ) -> tuple[Tensor, None]:
        """Attends within each image or window.

        Args:
            hidden_states: (B, h, w, C), float.
            output_attentions: Part of transformers' interface; the weights are never returned.

        Returns:
            The output (B, h, w, C), and ``None``.
        """
        batch, height, width, _ = hidden_states.shape
        qkv = self.qkv(hidden_states).reshape(batch, height * width, 3, self.num_attention_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if self.use_rel_pos:
            biases = self._row_biases(query, height, width), self._column_biases(query, height, width)
            query = torch.cat([query * self.scale, *biases], dim=-1)
            key = torch.cat([key, _one_hot_positions(height, width, key).expand(*key.shape[:3], -1)], dim=-1)
        else:
            query = query * self.scale
        attended = _attend(query, key, value)
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, -1)), None

    def _row_biases(self, query: Tensor, height: int, width: int) -> Tensor:
        """Returns the bias of each query for each row, (B, heads, tokens, height)."""
        queries = query.unflatten(2, (height, width))
        return torch.einsum("bnyxc,yvc->bnyxv", queries, _relative(self.rel_pos_h, height, query)).flatten(2, 3)

    def _column_biases(self, query: Tensor, height: int, width: int) -> Tensor:
        """Returns the bias of each query for each column, (B, heads, tokens, width)."""
        queries = query.unflatten(2, (height, width))
        return torch.einsum("bnyxc,xuc->bnyxu", queries, _relative(self.rel_pos_w, width, query)).flatten(2, 3)


def use_fused_bias_attention(sam: SamModel) -> SamModel:
    """Replaces the attention of every encoder block with `FusedBiasAttention`, in place; the tensors are kept.

    ``benchmarks/attention_memory.py`` compares its memory and time with those of transformers' attention.
    """
    blocks: Any = sam.vision_encoder.layers
    config: Any = sam.config.vision_config
    for block in blocks:
        block.attn = FusedBiasAttention.from_library(block.attn, config, block.window_size)
    return sam


def _relative(positions: Tensor, side: int, like: Tensor) -> Tensor:
    """Returns the embeddings (side, side, c) of all pairwise offsets, from a table (2 * side - 1, c) by offset."""
    indices = torch.arange(side, device=positions.device)
    return positions[indices[:, None] - indices[None, :] + side - 1].to(like.dtype)


def _one_hot_positions(height: int, width: int, like: Tensor) -> Tensor:
    """Returns the one-hot row and column of each token, (height * width, height + width)."""
    rows = torch.eye(height, device=like.device, dtype=like.dtype).repeat_interleave(width, dim=0)
    columns = torch.eye(width, device=like.device, dtype=like.dtype).repeat(height, 1)
    return torch.cat([rows, columns], dim=1)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Returns softmax(query · key) · value, (B, heads, tokens, c); queries and keys are wider than values."""
    if query.device.type == "cpu" and query.shape[2] <= _FEW_TOKENS:
        return (query @ key.transpose(-1, -2)).softmax(dim=-1) @ value
    # The fused kernels need the same width for all three, a multiple of 8.
    padded, width = -(-query.shape[-1] // 8) * 8, value.shape[-1]
    query, key, value = (F.pad(tensor, (0, padded - tensor.shape[-1])) for tensor in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :width]
