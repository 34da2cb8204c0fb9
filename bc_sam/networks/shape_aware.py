"""The shape-aware network (Wang et al., Applied Intelligence 2023, arXiv 2212.13695): the image and the shape."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bc_sam.networks.backbones import Backbone, pooled

#: Values that each backbone ends in; as many as the classes of ImageNet, whose classifiers the original took whole.
VALUES = 1000

_HIDDEN, _ATTENTION, _DROPOUT = (512, 256), 256, 0.4


class ShapeAttention(nn.Module):
    """Weights for the image's values, from those of the shape: ``sigmoid(W2 ReLU(W1 s + b1) + b2)``, 1000→256→1000.

    As in the original's code, weights are drawn with a deviation of 0.01 and biases are zero.

    Example:
        >>> ShapeAttention()(torch.zeros(2, 1000)).unique().tolist()
        [0.5]
    """

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = _linear(VALUES, _ATTENTION)
        self.excite = _linear(_ATTENTION, VALUES)

    def forward(self, shape: Tensor) -> Tensor:
        """Returns weights (B, 1000), 0..1, from the values of the shape (B, 1000)."""
        return torch.sigmoid(self.excite(F.relu(self.squeeze(shape))))


class ShapeAwareNetwork(nn.Module):
    """Names a cell by its image and its shape.

    With ``v`` the 1,000 values of the image and ``s`` those of the mask::

        a = ShapeAttention(s) . v
        logits = W3 d(ReLU(W2 d(ReLU(W1 [v, s, a]))))      3000 → 512 → 256 → classes; d is dropout of 0.4

    The ablations of the paper: without attention ``[v, s]``, without mask ``v`` alone. The mask, 0 or 1, is the
    brightness of a grey picture that is normalised as an image is.

    The original's backbones are Swin-B and VGG-19 with batch norm, whole, with their 1,000 outputs. Here they end in
    new linear layers of as many. transformers has no VGG. The nearest that it has is ResNet-34, the residual twin of
    the plain network that He et al. derived from VGG-19. SAM's own encoder may take the place of the image's backbone:
    frozen, its features averaged over places, with a linear layer to the values.

    Args:
        image: Backbone of the image, or the channels of the features of SAM in its place.
        mask: Backbone of the mask; ``None`` leaves it out.
        n_classes: Classes that it tells apart.
        attention: Whether it has shape attention.

    Attributes:
        head: The last layer, from what `embed` returns to a logit for each class.
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
        """Returns what the last layer sees, (B, 256).

        Args:
            images: (B, 3, S, S), normalised; not looked at where SAM's encoder takes the place of the backbone.
            maps: (B, C_s, h_s, w_s) features of SAM; looked at there alone.
            masks: (B, S, S), 0 or 1; not looked at where the mask is left out.
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
        """Returns where the values come from that the shape lets through, (B, h, w), 0 or more; ``None`` without.

        The attention itself has no places. But each value is a mean over places, of a linear layer of the features
        there; so this is, at each place, the sum of what it gives to the attended values, where that is positive.
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
        grey = (masks[:, None] - 0.5) / 0.25  # -2 and 2, about the range of a normalised image
        return self.mask_values(pooled(self.mask(grey.expand(-1, 3, -1, -1))))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
