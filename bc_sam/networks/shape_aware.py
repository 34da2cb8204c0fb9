"""The shape-aware network (Wang et al., Applied Intelligence 2023, arXiv 2212.13695): fuses image and mask."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bc_sam.networks.backbones import Backbone, pooled

#: Outputs of each branch, as many as ImageNet has classes: the original uses whole ImageNet classifiers.
VALUES = 1000

_HIDDEN, _ATTENTION, _DROPOUT = (512, 256), 256, 0.4


class ShapeAttention(nn.Module):
    """Gates for the image branch, computed from the mask branch: ``sigmoid(W2 ReLU(W1 s + b1) + b2)``, 1000→256→1000.

    As in the original code, weights are initialized with a standard deviation of 0.01 and biases with zero.

    Example:
        >>> ShapeAttention()(torch.zeros(2, 1000)).unique().tolist()
        [0.5]
    """

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = _linear(VALUES, _ATTENTION)
        self.excite = _linear(_ATTENTION, VALUES)

    def forward(self, shape: Tensor) -> Tensor:
        """Returns gates (B, 1000), 0..1, from the outputs (B, 1000) of the mask branch."""
        return torch.sigmoid(self.excite(F.relu(self.squeeze(shape))))


class ShapeAwareNetwork(nn.Module):
    """Classifies a cell by its image and its mask.

    With ``v`` the 1,000 outputs of the image branch and ``s`` those of the mask branch::

        a = ShapeAttention(s) . v
        logits = W3 d(ReLU(W2 d(ReLU(W1 [v, s, a]))))      3000 → 512 → 256 → classes; d is dropout of 0.4

    The ablations of the paper: without attention ``[v, s]``, without mask ``v`` alone. The mask, 0 or 1, is fed to its
    backbone as a normalized grey image.

    The original backbones are Swin-B and VGG-19 with batch norm, including their 1,000 ImageNet outputs. Here each
    backbone ends in a new linear layer of that width. transformers has no VGG; the closest is ResNet-34, the residual
    counterpart of the plain network that He et al. derived from VGG-19. SAM's frozen encoder may replace the image
    backbone: its features are averaged over positions and passed to the linear layer.

    Args:
        image: Image backbone, or the number of SAM feature channels to use SAM's encoder instead.
        mask: Mask backbone; ``None`` drops the mask branch.
        n_classes: Number of classes.
        attention: Whether to use shape attention.

    Attributes:
        head: The classification head, from the output of `embed` to logits.
    """

    def __init__(self, image: Backbone | int, mask: Backbone | None, n_classes: int, *, attention: bool) -> None:
        super().__init__()
        self.image = image if isinstance(image, Backbone) else None
        self.mask = mask
        self.image_values = nn.Linear(image if isinstance(image, int) else image.channels, VALUES)
        self.mask_values = None if mask is None else nn.Linear(mask.channels, VALUES)
        self.attention = ShapeAttention() if attention and mask is not None else None
        parts = 1 + (self.mask_values is not None) + (self.attention is not None)
        self.fuse = _linear(parts * VALUES, _HIDDEN[0])
        self.narrow = _linear(_HIDDEN[0], _HIDDEN[1])
        self.dropout = nn.Dropout(_DROPOUT)
        self.head = _linear(_HIDDEN[1], n_classes)

    def embed(self, images: Tensor, maps: Tensor, masks: Tensor) -> Tensor:
        """Returns the embedding (B, 256), the input of the head.

        Args:
            images: (B, 3, S, S), normalized; unused if SAM's encoder replaces the image backbone.
            maps: (B, C_s, h_s, w_s) SAM features; used only in that case.
            masks: (B, S, S), 0 or 1; unused without a mask branch.
        """
        values = self.image_values(pooled(self._features(images, maps)))
        parts = [values]
        if self.mask is not None:
            shape = self._shape(masks)
            parts.append(shape)
            if self.attention is not None:
                parts.append(self.attention(shape) * values)
        fused = self.dropout(F.relu(self.fuse(torch.cat(parts, dim=1))))
        return self.dropout(F.relu(self.narrow(fused)))

    def forward(self, images: Tensor, maps: Tensor, masks: Tensor) -> Tensor:
        """Returns logits (B, n_classes); see `embed`."""
        return self.head(self.embed(images, maps, masks))

    def attention_maps(self, images: Tensor, maps: Tensor, masks: Tensor) -> Tensor | None:
        """Returns each position's contribution to the gated outputs, (B, h, w), >= 0; ``None`` without attention.

        The attention itself is not spatial. But each image output is a linear layer of the features, averaged over
        positions, so this is the positive part of the summed contributions of a position to the gated outputs.
        """
        if self.attention is None:
            return None
        weights = self.attention(self._shape(masks)) @ self.image_values.weight
        return torch.einsum("bc,bchw->bhw", weights, self._features(images, maps)).relu()

    def _features(self, images: Tensor, maps: Tensor) -> Tensor:
        return maps if self.image is None else self.image(images)

    def _shape(self, masks: Tensor) -> Tensor:
        assert self.mask is not None
        assert self.mask_values is not None
        grey = (masks[:, None] - 0.5) / 0.25  # -2 and 2, roughly the range of a normalized image
        return self.mask_values(pooled(self.mask(grey.expand(-1, 3, -1, -1))))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
