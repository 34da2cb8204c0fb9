"""Runs a model on a stream of cells in constant memory, with one pass of the encoder per batch."""

from collections.abc import Iterable, Iterator
from typing import Any

from bc_sam.data.batches import Batch, decoded_batches
from bc_sam.data.images import MAX_PIXELS
from bc_sam.models.base import CellModel
from bc_sam.models.observation import InspectedCell, Parts, match_sources
from bc_sam.networks.features import default_batch_size


def inspect_cells(
    model: CellModel,
    images: Iterable[Any],
    parts: Parts = Parts.ALL,
    *,
    batch_size: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[InspectedCell]:
    """Runs a model on a stream of cells in constant memory. Unreadable images are reported and skipped.

    Args:
        model: The model.
        images: Paths, bytes, PIL images or arrays, one cell each.
        parts: What to compute.
        batch_size: Images per batch; by default chosen for the device.
        max_pixels: Maximum number of pixels per image; see `bc_sam.data.images.read_image`.

    Yields:
        An entry for each image, in order.

    Example:
        >>> for cell in inspect_cells(model, ["cell.tiff"]):  # doctest: +SKIP
        ...     print(cell.observed.probabilities["rf"].argmax())
    """
    size = default_batch_size(model.device) if batch_size is None else batch_size
    for batch in decoded_batches(images, model.config.image_size, size, max_pixels=max_pixels):
        yield from inspect_batch(model, batch, parts)


def inspect_batch(model: CellModel, batch: Batch, parts: Parts = Parts.ALL) -> list[InspectedCell]:
    """Runs a model on one batch; see `inspect_cells`."""
    return list(match_sources(batch, model.observe(batch.pixels, parts)))
