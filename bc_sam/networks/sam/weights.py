"""Builds a `SamModel` strictly from named tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import SamConfig, SamModel

from bc_sam.networks.sam.attention import use_fused_bias_attention
from bc_sam.utils.torch_utils import require_match


def build_sam(config: SamConfig, state: Mapping[str, Tensor], source: str) -> SamModel:
    """Builds a model from given tensors; no parameter keeps its initial value.

    Args:
        config: Config of the model.
        state: A tensor for each name in its `state_dict`. The model uses these tensors without copying them.
        source: Origin of the tensors, for error messages.

    Returns:
        The model in eval mode, with every parameter trainable.

    Raises:
        WeightsError: If a tensor is missing, unexpected or of the wrong shape.
    """
    with torch.device("meta"):
        sam = SamModel(config)
    require_match(sam.state_dict(), state, source)
    sam.load_state_dict(state, assign=True)
    sam.tie_weights()
    return use_fused_bias_attention(sam.eval())
