"""How a `SamModel` gets its weights: built strictly from named tensors, or drawn from a seed."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import SamConfig, SamModel

from bc_sam.networks.sam.attention import use_fused_bias_attention
from bc_sam.utils.torch_utils import require_match


def build_sam(config: SamConfig, state: Mapping[str, Tensor], source: str) -> SamModel:
    """Builds a model around given tensors, so that no value is ever left at its initial one.

    Args:
        config: Sizes of the model.
        state: One tensor for each name of its `state_dict`. The model keeps these tensors, it does not copy them.
        source: Where the tensors came from, for the error message.

    Returns:
        The model in eval mode, with every parameter trainable.

    Raises:
        WeightsError: If a tensor is missing, has no place in the model, or has another shape.
    """
    with torch.device("meta"):
        sam = SamModel(config)
    require_match(sam.state_dict(), state, source)
    sam.load_state_dict(state, assign=True)
    sam.tie_weights()
    return use_fused_bias_attention(sam.eval())
