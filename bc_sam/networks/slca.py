"""SLCA (Gu et al., arXiv 2505.06217): channel attention from a frozen SAM for an image classifier."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bc_sam.networks.backbones import Backbone, pooled


class SpatialChannelAttention(nn.Module):
    """Spatially localized channel attention.

    Squeeze-and-excitation weights each channel once per image; here each channel has one weight per cell of a small
    grid. As implemented, for SAM features ``S`` of shape (C_s, h_s, w_s) and backbone features ``F`` of shape
    (C, h, w)::

        Z = LocalAvgPool(S)          (C_s, g, g)    means over the cells of a g x g grid
        U = ReLU(W1 * Z + b1)        (C/r, g, g)    1 x 1 convolution
        A = sigmoid(W2 * U + b2)     (C, g, g)      1 x 1 convolution
        A' = resize(A)               (C, h, w)      bilinear
        F' = F . A'                  (C, h, w)      elementwise product

    The publication specifies a frozen encoder, local instead of global average pooling, two 1 x 1 convolutions with
    ReLU and sigmoid, and resized multiplicative weights. It leaves open, or does not state clearly, and we chose:

    - the grid, 4 x 4 (`grid`), and the reduction, 16 as in squeeze-and-excitation (`reduction`);
    - the SAM features: before the neck, as for BC-SAM, so that both systems use the same ones;
    - the classifier features: the last feature map, which every backbone has;
    - the second convolution maps C_s to C, and resizing is bilinear;
    - initialization: W2 and b2 are zero, so every weight starts at 1/2 and the pretrained classifier sees its own
      features at half scale until the module has learned something.

    Args:
        sam_channels: C_s.
        channels: C.
        grid: g.
        reduction: r; there is at least one hidden channel.

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
        """Returns weights (B, C, *size), 0..1, from SAM features (B, C_s, h_s, w_s)."""
        local_means = F.adaptive_avg_pool2d(maps, self.grid)
        weights = torch.sigmoid(self.excite(F.relu(self.squeeze(local_means))))
        return F.interpolate(weights, size=size, mode="bilinear", align_corners=False)


class ImageClassifier(nn.Module):
    """An image classifier, optionally with SLCA: backbone, global average pooling, linear layer.

    Without SLCA it is the plain fine-tuned network.

    Args:
        backbone: The backbone, fine-tuned with the rest.
        n_classes: Number of classes.
        attention: The SLCA module, or ``None``.

    Attributes:
        head: The classification head, from the output of `embed` to logits.
    """

    def __init__(self, backbone: Backbone, n_classes: int, attention: SpatialChannelAttention | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.attention = attention
        self.head = nn.Linear(backbone.channels, n_classes)

    def embed(self, images: Tensor, maps: Tensor, masks: Tensor) -> Tensor:
        """Returns the embedding (B, C), the input of the head.

        Args:
            images: (B, 3, S, S), normalized.
            maps: (B, C_s, h_s, w_s) SAM features; unused without SLCA.
            masks: Unused.
        """
        features = self.backbone(images)
        if self.attention is not None:
            features = features * self.attention(maps, features.shape[-2:])
        return pooled(features)

    def forward(self, images: Tensor, maps: Tensor, masks: Tensor) -> Tensor:
        """Returns logits (B, n_classes); see `embed`."""
        return self.head(self.embed(images, maps, masks))

    def attention_maps(self, images: Tensor, maps: Tensor, masks: Tensor) -> Tensor | None:
        """Returns the mean weight over the channels at each position, (B, h, w), 0..1; ``None`` without SLCA."""
        if self.attention is None:
            return None
        return self.attention(maps, maps.shape[-2:]).mean(dim=1)
