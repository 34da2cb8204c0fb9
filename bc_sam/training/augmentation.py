"""Random views of a batch of cells: turned, mirrored, tilted, and with other light and stain."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

#: Largest tilt of the paper, in degrees.
MAX_TILT = 20.0


def random_views(
    images: Tensor, masks: Tensor, generator: torch.Generator, colour_jitter: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Gives each image and its mask one random view (BC-SAM, section 3.1).

    Half of the images are turned by a multiple of 90° and mirrored or not, a quarter are tilted by up to 20°, and a
    quarter stay as they are. Corners that a tilt opens are filled by reflection; the original leaves them black.

    Args:
        images: (B, 3, S, S) float, 0..255.
        masks: (B, S, S) float, 0 or 1.
        generator: On the processor, whatever the device of the images, so that devices agree.
        colour_jitter: Half-range of the random gain of brightness, of contrast and of each channel; 0 is none.

    Returns:
        Images and masks of the same shapes.
    """
    motion = _random_motions(len(images), generator).to(images)
    grid = F.affine_grid(motion, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    masks = F.grid_sample(masks[:, None], grid, mode="nearest", padding_mode="reflection", align_corners=False)[:, 0]
    if colour_jitter:
        images = _jitter_colours(images, generator, colour_jitter)
    return images, masks


def _random_motions(n: int, generator: torch.Generator) -> Tensor:
    """Affine matrices (n, 2, 3) of symmetries and tilts."""
    kind = torch.rand(n, generator=generator)
    quarter_turns = torch.randint(0, 4, (n,), generator=generator) * (math.pi / 2)
    mirror = 1.0 - 2.0 * torch.randint(0, 2, (n,), generator=generator)
    tilt = (torch.rand(n, generator=generator) * 2 - 1) * math.radians(MAX_TILT)
    angle = torch.where(kind < 0.5, quarter_turns, torch.where(kind < 0.75, tilt, 0.0))
    mirror = torch.where(kind < 0.5, mirror, 1.0)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(n)
    rows = torch.stack([cos * mirror, -sin, zero]), torch.stack([sin * mirror, cos, zero])
    return torch.stack(rows).permute(2, 0, 1)


def _jitter_colours(images: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Random brightness and contrast of each image and gain of each channel, as another lamp or stain would give."""

    def gain(*shape: int) -> Tensor:
        return (1 + strength * (torch.rand(shape, generator=generator) * 2 - 1)).to(images)

    n = len(images)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * gain(n, 1, 1, 1) + mean * gain(n, 1, 1, 1)
    return (images * (1 + (gain(n, 3, 1, 1) - 1) / 2)).clamp(0, 255)
