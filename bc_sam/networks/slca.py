"""SLCA (Gu et al., arXiv 2505.06217): a frozen SAM tells an image classifier which channels matter where."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bc_sam.networks.backbones import Backbone, pooled


class SpatialChannelAttention(nn.Module):
    """Spatially localised channel attention.

    Squeeze-and-excitation gives each channel one weight for the whole image. Here each channel has one at each place
    of a small grid. As implemented, for SAM's features ``S`` of shape (C_s, h_s, w_s) and a backbone's features ``F``
    of shape (C, h, w)::

        Z = LocalAvgPool(S)          (C_s, g, g)    means over the cells of a g x g grid
        U = ReLU(W1 * Z + b1)        (C/r, g, g)    1 x 1 convolution
        A = sigmoid(W2 * U + b2)     (C, g, g)      1 x 1 convolution
        A' = resize(A)               (C, h, w)      bilinear
        F' = F . A'                  (C, h, w)      product of elements

    The publication gives the idea: a frozen encoder, local average pooling in the place of the global one, two 1 x 1
    convolutions with ReLU and sigmoid, weights that are resized and multiplied. It leaves open, or we could not read
    in it, and here was chosen:

    - the grid: 4 x 4 (`grid`), and the reduction: 16 (`reduction`), that of squeeze-and-excitation;
    - which features of SAM: those before the neck, as for BC-SAM, so that both see the same;
    - which features of the classifier: its last ones, since every backbone has them;
    - how C_s becomes C: by the second convolution; and the resizing: bilinear;
    - the start: W2 and b2 are zero, so every weight begins at 1/2 and the classifier, which is trained already, sees
      its own features at half their size until the module has learned something.

    Args:
        sam_channels: C_s.
        channels: C.
        grid: g.
        reduction: r; the hidden channels are at least one.

    Example:
        >>> attention = SpatialChannelAttention(256, 128, grid=4, reduction=4)
        >>> attention(torch.zeros(2, 256, 14, 14), (6, 6)).shape
        torch.Size([2, 128, 6, 6])
    """

    def __init__(self, sam_channels: int, channels: int, grid: int = 4, reduction: int = 16) -> None:
        super().__init__()
        self.grid = grid
        self.squeeze = nn.Conv2d(sam_channels, max(1, channels // reduction), 1)
        self.excite = nn.Conv2d(self.squeeze.out_channels, channels, 1)
        for parameter in self.excite.parameters():
            nn.init.zeros_(parameter)

    def forward(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Returns weights (B, C, *size), 0..1, from features of SAM (B, C_s, h_s, w_s)."""
        places = F.adaptive_avg_pool2d(maps, self.grid)
        weights = torch.sigmoid(self.excite(F.relu(self.squeeze(places))))
        return F.interpolate(weights, size=size, mode="bilinear", align_corners=False)


class ImageClassifier(nn.Module):
    """An ordinary image classifier, whose last features SLCA may weigh: backbone, mean over places, linear layer.

    Without the module it is the plain fine-tuned network.

    Args:
        backbone: The backbone, trained with the rest.
        n_classes: Classes that it tells apart.
        attention: The module, or ``None``.

    Attributes:
        head: The last layer, from what `embed` returns to a logit for each class.
    """

    def __init__(self, backbone: Backbone, n_classes: int, attention: SpatialChannelAttention | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.attention = attention
        self.head = nn.Linear(backbone.channels, n_classes)

    def embed(self, images: Tensor, maps: Tensor, masks: Tensor) -> Tensor:
        """Returns what the last layer sees, (B, C).

        Args:
            images: (B, 3, S, S), normalised.
            maps: (B, C_s, h_s, w_s) features of SAM; not looked at without the module.
            masks: Not looked at.
        """
        features = self.backbone(images)
        if self.attention is not None:
            features = features * self.attention(maps, features.shape[-2:])
        return pooled(features)

    def forward(self, images: Tensor, maps: Tensor, masks: Tensor) -> Tensor:
        """Returns logits (B, n_classes); see `embed`."""
        return self.head(self.embed(images, maps, masks))

    def attention_maps(self, images: Tensor, maps: Tensor, masks: Tensor) -> Tensor | None:
        """Returns the mean weight over the channels at each place, (B, h, w), 0..1; ``None`` without the module."""
        if self.attention is None:
            return None
        return self.attention(maps, maps.shape[-2:]).mean(dim=1)
