"""Augmentation of batches of cells: rotations, flips, tilts, and changes of illumination and stain."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bc_sam.config.arguments import ViewArguments
from bc_sam.data.appearance.light import GLASS_LEVEL, NUCLEUS_DENSITY

#: Largest tilt in the paper, degrees.
MAX_TILT = 20.0

_TILT = math.radians(MAX_TILT)

# Approximate radius of a cell, range as a share of half the image's side, and width of its soft edge.
_NEAR, _EDGE = (0.4, 0.75), 0.1

#: Random numbers per view of `strong_views`.
STRONG_DRAWS = 51

# Range of the half sides of a tight crop, and of the shift of its centre, as shares of half the view's side.
_TIGHT, _OFF_CENTRE = (0.55, 1.1), 0.15


def view_draws(seed: int, epoch: int, cells: Iterable[int], n: int = 9) -> Tensor:
    """Draws the random numbers of one view per cell, (B, n) in 0..1, from seed, epoch and cell only.

    The view of a cell is thus the same in any process and in a resumed training.
    """
    return torch.tensor(np.array([np.random.default_rng([seed, epoch, cell]).random(n) for cell in cells])).float()


def random_views(images: Tensor, masks: Tensor, draws: Tensor, colour_jitter: float = 0.0) -> tuple[Tensor, Tensor]:
    """Returns one random view of each image and its mask (BC-SAM, section 3.1).

    Half of the images are rotated by a multiple of 90° and randomly flipped, a quarter are tilted by up to 20°, and a
    quarter stay unchanged. Corners exposed by a tilt are filled by reflection; the original leaves them black.

    Args:
        images: (B, 3, S, S) float, 0..255.
        masks: (B, S, S) float, 0 or 1.
        draws: (B, 9), from `view_draws`.
        colour_jitter: Half-range of the random gains of brightness, contrast and each channel; 0 for none.

    Returns:
        Images and masks of the same shapes.
    """
    motion = motions(draws).to(images)
    images, masks = moved(images, motion), moved(masks[:, None], motion, "nearest")[:, 0]
    if colour_jitter:
        images = jitter_colours(images, draws.to(images), colour_jitter)
    return images, masks


def strong_views(
    images: Tensor, masks: Tensor, draws: Tensor, window: int, arguments: ViewArguments
) -> tuple[Tensor, Tensor]:
    """Returns a view of each image and its mask that simulates another microscope, illumination and stain.

    Images are rotated by any angle, flipped, scaled and shifted; stain, slide, focus and resolution are changed. In
    some views the background is stained differently from the cell, since the look of a laboratory's red cells must not
    predict the class of its white ones, and in some it is missing, as beyond a tight crop.

    Args:
        images: (B, 3, S, S) float, 0..255.
        masks: (B, S, S) float, 0 or 1.
        draws: (B, STRONG_DRAWS), from `view_draws`.
        window: Side of the views, pixels; if less than S, the centre is cropped, not downscaled.
        arguments: Strengths of the augmentations.

    Returns:
        Images (B, 3, window, window) and masks (B, window, window).
    """
    draws = draws.to(images)
    angle, side, zoom, down, right = draws[:, :5].T
    angle = angle * 2 * math.pi
    mirror = torch.where(side < 0.5, -1.0, 1.0)
    low, high = arguments.smallest, arguments.largest
    scale = window / images.shape[-1] / (low * (high / low) ** zoom)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    moves = (torch.stack([right, down], dim=1) * 2 - 1) * arguments.shift
    rows = torch.stack([cos * mirror, -sin, moves[:, 0]]), torch.stack([sin * mirror, cos, moves[:, 1]])
    motion = torch.stack(rows).permute(2, 0, 1)
    images = moved(images, motion, size=window)
    masks = moved(masks[:, None], motion, "nearest", size=window)[:, 0]
    images = _recoloured(images, draws[:, 5:40], draws[:, 41:44], scale, arguments)
    images = _refocused(images, draws[:, 40], arguments.focus)
    images = _coarsened(images, draws[:, 44], arguments.low_resolution_prob)
    inside = _tight_crops(draws[:, 45:], window, arguments.tight_crop_prob)
    return torch.where(inside[:, None], images, GLASS_LEVEL), masks * inside


def _recoloured(images: Tensor, draws: Tensor, tone: Tensor, scale: Tensor, arguments: ViewArguments) -> Tensor:
    """Changes stain and slide of images (B, 3, S, S), 0..255.

    Args:
        images: The images.
        draws: (B, 35) in 0..1, for stain, background and slide.
        tone: (B, 3) in 0..1, for the strength of the whole stain.
        scale: As for `_disc`.
        arguments: Strengths of the augmentations.
    """
    density = -(images / 255).clamp(1 / 255, 1).log()
    sample = density[:, :, ::4, ::4].flatten(2)
    glass = sample.kthvalue(sample.shape[2] // 10 + 1, dim=2).values[:, :, None, None]
    stain = _toned(density - glass, tone, arguments)  # the stain does not affect the glass
    stained = _restained(stain, draws[:, :14] * 2 - 1, arguments.stain * draws[:, 14])
    around = _restained(stain, draws[:, 15:29] * 2 - 1, arguments.stain * draws[:, 29])
    alike = draws[:, 31, None, None] >= arguments.background_stain_prob
    near = _disc(draws[:, 30], scale, images.shape[-1]).maximum(alike.float())
    glass = glass + arguments.slide * draws[:, 32:, None, None]
    return ((-(around.lerp(stained, near[:, None]) + glass)).exp() * 255).clamp(0, 255)


def _toned(density: Tensor, draws: Tensor, arguments: ViewArguments) -> Tensor:
    """Changes how dark cytoplasm is beside the nucleus, and weakens the whole stain, by draws (B, 3) in 0..1."""
    if arguments.gamma:
        nucleus = torch.tensor(NUCLEUS_DENSITY).to(density)[:, None, None]
        power = (arguments.gamma * (draws[:, 0] * 2 - 1)).exp()[:, None, None, None]
        density = nucleus * (density / nucleus).clamp(min=1e-4) ** power
    weaker = torch.where(draws[:, 1] < arguments.pale_prob, 0.5 + draws[:, 2] / 2, 1.0)
    return density * weaker[:, None, None, None]


def _restained(density: Tensor, draws: Tensor, stain: Tensor) -> Tensor:
    """Changes the stain of optical densities (B, 3, S, S), by draws (B, 14) in -1..1 and strengths (B,).

    By the Beer-Lambert law, a change of stain is a change of optical density: of each channel, between channels, of
    saturation, and, with half the strength, of overall density.
    """
    vivid, strength = 1 + stain * draws[:, 0], (stain / 2 * draws[:, 1]).exp()
    grey = density.mean(dim=1, keepdim=True)
    own = torch.diag_embed((stain[:, None] * draws[:, 2:5]).exp())
    across = stain[:, None, None] / 2 * draws[:, 5:14].reshape(-1, 3, 3) * (1 - torch.eye(3).to(density))
    mixed = (own + across) * strength[:, None, None]
    return torch.einsum("bij,bjyx->biyx", mixed, grey + (density - grey) * vivid[:, None, None, None])


def _disc(draws: Tensor, scale: Tensor, size: int) -> Tensor:
    """Returns soft discs (B, size, size): 1 in the centre, where the cell is, and 0 far from it.

    Args:
        draws: (B,) in 0..1, from the smallest radius to the largest.
        scale: (B,) extent of the view as a share of the image's side.
        size: Side of the view, pixels.
    """
    radius = (_NEAR[0] + (_NEAR[1] - _NEAR[0]) * draws) / scale
    position = torch.linspace(-1, 1, size, device=draws.device)
    distance = torch.hypot(position[:, None], position[None, :])
    return ((radius[:, None, None] - distance) * scale[:, None, None] / _EDGE + 0.5).clamp(0, 1)


def _refocused(images: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Blurs or sharpens images (B, 3, S, S) by draws (B,) in 0..1; a third stay nearly unchanged."""
    soft = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), "reflect"), (5, 1), stride=1)
    soft = F.avg_pool2d(soft, (1, 5), stride=1)
    towards = strength * (1.6 * draws - 0.6)[:, None, None, None]
    return images.lerp(soft, towards).clamp(0, 255)


def _coarsened(images: Tensor, draws: Tensor, share: float) -> Tensor:
    """Halves the resolution of some images (B, 3, S, S), and reduces that of as many to a third, by draws (B,)."""
    if not share:
        return images
    size = images.shape[-1]
    half, third = (
        F.interpolate(F.interpolate(images, size // factor, mode="area"), size, mode="bilinear") for factor in (2, 3)
    )
    draws = draws[:, None, None, None]
    return torch.where(draws < share / 2, half, torch.where(draws < share, third, images))


def _tight_crops(draws: Tensor, size: int, share: float) -> Tensor:
    """Returns rectangles (B, size, size) bool around the middle of some images, by draws (B, 5); else all true."""
    position = torch.linspace(-1, 1, size, device=draws.device)
    half = _TIGHT[0] + (_TIGHT[1] - _TIGHT[0]) * draws[:, 1:3]
    shift = _OFF_CENTRE * (draws[:, 3:5] * 2 - 1)
    inside = (position - shift[..., None]).abs() <= half[..., None]
    return (inside[:, 0, :, None] & inside[:, 1, None, :]) | (draws[:, 0] >= share)[:, None, None]


def moved(images: Tensor, motion: Tensor, mode: str = "bilinear", size: int | None = None) -> Tensor:
    """Transforms images or feature maps (B, C, S, S) by affine matrices (B, 2, 3), optionally to another size."""
    size = size or images.shape[-1]
    grid = F.affine_grid(motion, [*images.shape[:2], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode=mode, padding_mode="reflection", align_corners=False)


def motions(draws: Tensor) -> Tensor:
    """Returns affine matrices (B, 2, 3) of symmetries and tilts for draws (B, 9)."""
    kind, turn, side, tilt = draws[:, :4].T
    quarter_turns = (turn * 4).floor() * (math.pi / 2)
    mirror = torch.where(side < 0.5, -1.0, 1.0)
    angle = torch.where(kind < 0.5, quarter_turns, torch.where(kind < 0.75, (tilt * 2 - 1) * _TILT, 0.0))
    mirror = torch.where(kind < 0.5, mirror, 1.0)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(draws))
    rows = torch.stack([cos * mirror, -sin, zero]), torch.stack([sin * mirror, cos, zero])
    return torch.stack(rows).permute(2, 0, 1)


def jitter_colours(images: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Changes brightness, contrast and channel gains of each image (B, 3, H, W), 0..255."""
    gains = 1 + strength * (draws[:, 4:] * 2 - 1)
    brightness, contrast, channels = gains[:, :1, None, None], gains[:, 1:2, None, None], gains[:, 2:, None, None]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * contrast + mean * brightness
    return (images * (1 + (channels - 1) / 2)).clamp(0, 255)
