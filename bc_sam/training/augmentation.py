"""Random views of a batch of cells: turned, mirrored, tilted, and with other light and stain."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

#: Largest tilt of the paper, in degrees.
MAX_TILT = 20.0

_TILT = math.radians(MAX_TILT)


def view_draws(seed: int, epoch: int, cells: Iterable[int]) -> Tensor:
    """Draws the random numbers of one view of each cell, (B, 9) in 0..1, from the seed, the epoch and the cell alone.

    So a cell has the same view whichever process sees it, and after a training was taken up again.
    """
    return torch.tensor(np.array([np.random.default_rng([seed, epoch, cell]).random(9) for cell in cells])).float()


def random_views(images: Tensor, masks: Tensor, draws: Tensor, colour_jitter: float = 0.0) -> tuple[Tensor, Tensor]:
    """Gives each image and its mask one random view (BC-SAM, section 3.1).

    Half of the images are turned by a multiple of 90° and mirrored or not, a quarter are tilted by up to 20°, and a
    quarter stay as they are. Corners that a tilt opens are filled by reflection; the original leaves them black.

    Args:
        images: (B, 3, S, S) float, 0..255.
        masks: (B, S, S) float, 0 or 1.
        draws: (B, 9), from `view_draws`.
        colour_jitter: Half-range of the random gain of brightness, of contrast and of each channel; 0 is none.

    Returns:
        Images and masks of the same shapes.
    """
    motion = motions(draws).to(images)
    images, masks = moved(images, motion), moved(masks[:, None], motion, "nearest")[:, 0]
    if colour_jitter:
        images = jitter_colours(images, draws.to(images), colour_jitter)
    return images, masks


def moved(images: Tensor, motion: Tensor, mode: str = "bilinear") -> Tensor:
    """Turns images, or maps of features, (B, C, H, W), by matrices (B, 2, 3) of `motions`."""
    grid = F.affine_grid(motion, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode=mode, padding_mode="reflection", align_corners=False)


def motions(draws: Tensor) -> Tensor:
    """Returns affine matrices (B, 2, 3) of symmetries and tilts, from draws (B, 9)."""
    kind, turn, side, tilt = draws[:, :4].T
    quarter_turns = (turn * 4).floor() * (math.pi / 2)
    mirror = torch.where(side < 0.5, -1.0, 1.0)
    angle = torch.where(kind < 0.5, quarter_turns, torch.where(kind < 0.75, (tilt * 2 - 1) * _TILT, 0.0))
    mirror = torch.where(kind < 0.5, mirror, 1.0)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(draws))
    rows = torch.stack([cos * mirror, -sin, zero]), torch.stack([sin * mirror, cos, zero])
    return torch.stack(rows).permute(2, 0, 1)


def jitter_colours(images: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Gives each image (B, 3, H, W), 0..255, its own light and stain: brightness, contrast, gain of each channel."""
    gains = 1 + strength * (draws[:, 4:] * 2 - 1)
    brightness, contrast, channels = gains[:, :1, None, None], gains[:, 1:2, None, None], gains[:, 2:, None, None]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * contrast + mean * brightness
    return (images * (1 + (channels - 1) / 2)).clamp(0, 255)
