"""The common scale and stain of a laboratory's images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bc_sam.data.appearance.light import Rgb, stain_strength
from bc_sam.data.appearance.magnification import Measurement, Scale, describe_scale, domain_scale
from bc_sam.data.appearance.resolution_tags import ResolutionTag

# Largest standard deviation of the logarithm of the red cells' diameters, over the images of one microscope. It is
# 0.07 in Acevedo-20 and BCCD, and 0.09 in Matek-19.
_MOST_SPREAD = 0.2

# Fewest images with red cells from which the spread is judged.
_FEWEST_FOR_SPREAD = 5


@dataclass(frozen=True)
class AppearanceProfile:
    """Scale and stain that the images of one laboratory share.

    Attributes:
        scale: The pixel size. If it is unknown, each image is measured by itself.
        strength: Factors for the optical density of red, green and blue, as from
            `bc_sam.data.appearance.light.stain_strength`.
        n_images: Number of images from which it was estimated.
    """

    scale: Scale
    strength: Rgb = (1.0, 1.0, 1.0)
    n_images: int = 0

    def __str__(self) -> str:
        scale, measured = self.scale, self.n_images
        return describe_scale(
            scale.microns_per_pixel, scale.ruler, n_found=scale.n_images, n_measured=measured, reason=scale.reason
        )


def estimate_profile(
    measurements: Iterable[Measurement],
    *,
    microns_per_pixel: float | None = None,
    tags: Iterable[ResolutionTag | None] = (),
) -> AppearanceProfile:
    """Estimates the profile of a laboratory from a sample of its images.

    Args:
        measurements: Of images from one microscope and camera, in their own pixels.
        microns_per_pixel: Pixel size given by the user.
        tags: Resolution tags of the images, ``None`` for an image without one.

    Returns:
        The profile. If the red cells say that the images have several magnifications, its scale is unknown.

    Example:
        >>> sample = [Measurement((240.0, 240.0, 240.0), (90.0, 90.0), 75.0, 5, nucleus_density=(1.15, 2.2, 0.84))] * 9
        >>> profile = estimate_profile(sample)
        >>> profile.scale.microns_per_pixel, profile.strength
        (0.1, (1.0, 1.0, 0.5))
    """
    images = list(measurements)
    scale = domain_scale(images, microns_per_pixel=microns_per_pixel, tags=tags)
    if microns_per_pixel is None and (spread := _spread(images)) > _MOST_SPREAD:
        reason = f"The red cells of single images differ by {spread:.0%}, so each image is measured by itself."
        scale = Scale(None, "unknown", scale.n_images, reason)
    return AppearanceProfile(scale, stain_strength(m.nucleus_density for m in images), len(images))


def own_profile(
    measurement: Measurement, *, microns_per_pixel: float | None = None, tag: ResolutionTag | None = None
) -> AppearanceProfile:
    """Returns the profile of a single image, which is less accurate than that of its laboratory."""
    return estimate_profile([measurement], microns_per_pixel=microns_per_pixel, tags=[tag])


def with_own_scale(profile: AppearanceProfile, own: AppearanceProfile) -> AppearanceProfile:
    """Returns a laboratory's profile, with the scale of one of its images if the laboratory has none."""
    if profile.scale.microns_per_pixel is not None:
        return profile
    reason = f"{profile.scale.reason} {own.scale.reason}".strip()
    return replace(profile, scale=replace(own.scale, reason=reason))


def _spread(images: Sequence[Measurement]) -> float:
    """Returns the standard deviation of the logarithm of the red cells' diameters; 0 for too few images."""
    diameters = [m.red_cell_px for m in images if m.has_red_cell_ruler and m.red_cell_px]
    return float(np.std(np.log(diameters))) if len(diameters) >= _FEWEST_FOR_SPREAD else 0.0
