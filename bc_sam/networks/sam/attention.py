"""The encoder's attention without a matrix of biases: SAM's relative positions are part of the dot product.

SAM adds to each product of a query at (y, x) and a key at (v, u) a bias of the row and one of the column:

    q · k + r_y[v] + c_x[u]        r_y[v] = q · R[y - v],   c_x[u] = q · C[x - u]

The sum is one longer dot product: of the query joined with its biases, and the key joined with marks of its row and
column,

    [q, r_y, c_x] · [k, e_v, e_u]

and what follows is plain attention, for which there are kernels that never hold all scores at once.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import SamModel, SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionAttention

# Up to this many tokens a CPU computes all scores at once three times as fast as PyTorch's fused kernel does, and they
# take less memory than the layer's own activations. At 224 px there are 196 tokens.
_FEW_TOKENS = 1024


class FusedBiasAttention(SamVisionAttention):
    """SAM's attention, computed as described above; names, shapes and results are the library's."""

    @classmethod
    def from_library(cls, attention: SamVisionAttention, config: SamVisionConfig, window_size: int) -> Self:
        """Returns the same attention with the same tensors, which both then share.

        Args:
            attention: Attention of one block.
            config: Config of its encoder.
            window_size: Side of the block's windows in patches; 0 where it attends globally.
        """
        with torch.device("meta"):
            fused = cls(config, window_size)
        for name, part in (*attention.named_children(), *attention.named_parameters(recurse=False)):
            setattr(fused, name, part)
        fused.use_rel_pos = attention.use_rel_pos
        return fused.train(attention.training)

    def forward(  # type: ignore[override]  # the library types what its other classes do not return
        self, hidden_states: Tensor, output_attentions: bool | None = None
    ) -> tuple[Tensor, None]:
        """Attends within each image or window.

        Args:
            hidden_states: (B, h, w, C), float.
            output_attentions: Of the library's interface; the weights are never returned.

        Returns:
            (B, h, w, C), and ``None``.
        """
        batch, height, width, _ = hidden_states.shape
        qkv = self.qkv(hidden_states).reshape(batch, height * width, 3, self.num_attention_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if self.use_rel_pos:
            biases = self._row_biases(query, height, width), self._column_biases(query, height, width)
            query = torch.cat([query * self.scale, *biases], dim=-1)
            key = torch.cat([key, _place_marks(height, width, key).expand(*key.shape[:3], -1)], dim=-1)
        else:
            query = query * self.scale
        attended = _attend(query, key, value)
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, -1)), None

    def _row_biases(self, query: Tensor, height: int, width: int) -> Tensor:
        """The bias of each query for each row, (B, heads, tokens, height)."""
        queries = query.unflatten(2, (height, width))
        return torch.einsum("bnyxc,yvc->bnyxv", queries, _relative(self.rel_pos_h, height, query)).flatten(2, 3)

    def _column_biases(self, query: Tensor, height: int, width: int) -> Tensor:
        """The bias of each query for each column, (B, heads, tokens, width)."""
        queries = query.unflatten(2, (height, width))
        return torch.einsum("bnyxc,xuc->bnyxu", queries, _relative(self.rel_pos_w, width, query)).flatten(2, 3)


def use_fused_bias_attention(sam: SamModel) -> SamModel:
    """Replaces the attention of every block of a model's encoder by `FusedBiasAttention`, in place; its tensors stay.

    ``benchmarks/attention_memory.py`` compares its memory and time with those of the library's attention.
    """
    blocks: Any = sam.vision_encoder.layers
    config: Any = sam.config.vision_config
    for block in blocks:
        block.attn = FusedBiasAttention.from_library(block.attn, config, block.window_size)
    return sam


def _relative(positions: Tensor, side: int, like: Tensor) -> Tensor:
    """Embeddings (side, side, c) of the offsets between all pairs of places, from those (2 * side - 1, c) of each."""
    places = torch.arange(side, device=positions.device)
    return positions[places[:, None] - places[None, :] + side - 1].to(like.dtype)


def _place_marks(height: int, width: int, like: Tensor) -> Tensor:
    """For each place its row and its column, one-hot, (height * width, height + width)."""
    rows = torch.eye(height, device=like.device, dtype=like.dtype).repeat_interleave(width, dim=0)
    columns = torch.eye(width, device=like.device, dtype=like.dtype).repeat(height, 1)
    return torch.cat([rows, columns], dim=1)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query · key) · value, (B, heads, tokens, c), for queries and keys that are wider than the values."""
    if query.device.type == "cpu" and query.shape[2] <= _FEW_TOKENS:
        return (query @ key.transpose(-1, -2)).softmax(dim=-1) @ value
    # The fused kernels want one width for all three, a multiple of 8.
    wide, width = -(-query.shape[-1] // 8) * 8, value.shape[-1]
    query, key, value = (F.pad(tensor, (0, wide - tensor.shape[-1])) for tensor in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :width]
