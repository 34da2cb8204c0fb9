"""The losses of the two torch stages: cross-entropy and Dice on masks, SSIM on cells, MMD between domains."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Added to the numerator and denominator of the Dice coefficient, so that it is defined for empty masks.
_DICE_SMOOTHING = 1e-5

# Side and standard deviation of the Gaussian window of SSIM, pixels.
_SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5


def segmentation_loss(logits: Tensor, masks: Tensor, dice_weight: float = 0.8) -> Tensor:
    """Returns cross-entropy plus soft Dice of cell against background (BC-SAM, section 2.1).

    A sigmoid of one logit replaces the original's equivalent softmax over two. The Dice is computed over the whole
    batch, with sums of squares in the denominator, and averaged over cell and background.

    Args:
        logits: (B, H, W), positive for cell.
        masks: (B, H, W), 1 for cell and 0 for background.
        dice_weight: Weight of the Dice loss, 0..1; that of cross-entropy is the complement.

    Returns:
        Non-negative scalar.

    Example:
        >>> masks = torch.zeros(1, 4, 4)
        >>> segmentation_loss(torch.full((1, 4, 4), -20.0), masks).item() < 0.5
        True
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, masks)
    cell = torch.sigmoid(logits)
    dice = (_soft_dice(cell, masks) + _soft_dice(1 - cell, 1 - masks)) / 2
    return (1 - dice_weight) * cross_entropy + dice_weight * (1 - dice)


def _soft_dice(score: Tensor, target: Tensor) -> Tensor:
    overlap = (score * target).sum()
    return (2 * overlap + _DICE_SMOOTHING) / (score.square().sum() + target.square().sum() + _DICE_SMOOTHING)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Returns the mean SSIM (Wang et al., 2004) with a Gaussian window and zero padding, as in the original.

    Args:
        a: (B, C, H, W), 0..1.
        b: (B, C, H, W), 0..1.

    Returns:
        Scalar, at most 1, the value for equal images.

    Example:
        >>> image = torch.rand(1, 3, 32, 32)
        >>> round(ssim(image, image).item(), 4)
        1.0
    """
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b, aa, bb, ab = _blur(torch.cat([a, b, a * a, b * b, a * b]), _SSIM_WINDOW, _SSIM_SIGMA).chunk(5)
    var_a, var_b, cov = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    similarity = ((2 * mean_a * mean_b + c1) * (2 * cov + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return similarity.mean()


def _blur(x: Tensor, window: int, sigma: float) -> Tensor:
    """Applies a Gaussian blur with zero padding, as a product with a banded matrix on each side.

    A depthwise convolution is equivalent, but its backward pass takes many times longer on CPUs; see the row "stage 2"
    of ``benchmarks/training.py``.
    """
    height, width = x.shape[-2:]
    return _blur_matrix(height, window, sigma).to(x) @ x @ _blur_matrix(width, window, sigma).to(x).T


def _blur_matrix(n: int, window: int, sigma: float) -> Tensor:
    """Returns the matrix (n, n) that blurs a column."""
    offsets = torch.arange(window, dtype=torch.float64) - window // 2
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    taps = torch.arange(n)[None, :] - torch.arange(n)[:, None] + window // 2
    inside = (taps >= 0) & (taps < window)
    return torch.where(inside, kernel[taps.clamp(0, window - 1)], 0.0)


def linear_mmd(latents: Tensor, domains: Tensor) -> Tensor:
    """Returns the linear maximum mean discrepancy between the domains' latents (BC-SAM, equation 3).

    This is the mean squared difference of domain means, averaged over all pairs of domains in the batch. It equals the
    original for two domains. For one it is 0, where the original is NaN; for three it uses every pair, where the
    original uses the second domain twice.

    Args:
        latents: (B, D).
        domains: (B,), integers.

    Returns:
        Non-negative scalar.

    Example:
        >>> linear_mmd(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1])).item()
        4.0
    """
    means = torch.stack([latents[domains == domain].mean(0) for domain in domains.unique()])
    if len(means) < 2:
        return latents.sum() * 0  # keeps the graph, so that every parameter gets a gradient
    first, second = torch.triu_indices(len(means), len(means), offset=1, device=means.device)
    return (means[first] - means[second]).square().mean()


def autoencoder_loss(
    reconstruction: Tensor, target: Tensor, latents: Tensor, domains: Tensor, mmd_weight: float = 5.0
) -> Tensor:
    """Returns the loss of stage 2, (1 - SSIM) + mmd_weight · MMD (BC-SAM, equation 4).

    Args:
        reconstruction: (B, 3, 128, 128), 0..1.
        target: (B, 3, 128, 128), 0..1: the masked cell on grey.
        latents: (B, D).
        domains: (B,), integers.
        mmd_weight: Weight of the MMD.

    Returns:
        Scalar.
    """
    return 1 - ssim(reconstruction, target) + mmd_weight * linear_mmd(latents, domains)
