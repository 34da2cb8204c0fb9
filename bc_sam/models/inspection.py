"""Runs a model on a stream of cells in constant memory, with one pass of the encoder per batch."""

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.batches import Batch
from bc_sam.data.images import MAX_PIXELS
from bc_sam.models.observation import InspectedCell, Parts, match_sources

if TYPE_CHECKING:
    from bc_sam.models.base import CellModel


def inspect_cells(
    model: "CellModel",
    images: Iterable[Any],
    parts: Parts = Parts.ALL,
    *,
    batch_size: int | None = None,
    max_pixels: int = MAX_PIXELS,
    microns_per_pixel: float | None = None,
    profile: AppearanceProfile | None = None,
) -> Iterator[InspectedCell]:
    """Runs a model on a stream of cells in constant memory. Unreadable images are reported and skipped.

    Args:
        model: The model.
        images: Paths, bytes, PIL images or arrays, one cell each.
        parts: What to compute.
        batch_size: Images per batch; by default chosen for the device.
        max_pixels: Maximum number of pixels per image; see `bc_sam.data.images.read_image`.
        microns_per_pixel: Pixel size of the images, µm; see `bc_sam.models.base.CellModel.batches`.
        profile: Scale and stain of the laboratory; see there.

    Yields:
        An entry for each image, in order.

    Example:
        >>> for cell in inspect_cells(model, ["cell.tiff"]):  # doctest: +SKIP
        ...     print(cell.observed.probabilities["rf"].argmax())
    """
    batches = model.batches(
        images, batch_size, max_pixels=max_pixels, microns_per_pixel=microns_per_pixel, profile=profile
    )
    for batch in batches:
        yield from inspect_batch(model, batch, parts)


def inspect_batch(
    model: "CellModel", batch: Batch, parts: Parts = Parts.ALL, *, classifiers: Collection[str] | None = None
) -> list[InspectedCell]:
    """Runs a model on one batch.

    Args:
        model: The model.
        batch: The images; unreadable ones are reported.
        parts: What to compute.
        classifiers: Names of the classifiers to apply; by default all loaded ones.

    Returns:
        An entry for each image, in order.
    """
    return list(match_sources(batch, model.observe(batch.pixels, parts, classifiers=classifiers)))
