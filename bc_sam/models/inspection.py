"""All that a model sees in a cell, from one pass of its encoder: outline, crop, latent, names; and what it redraws."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from bc_sam.data.batches import Batch, decoded_batches
from bc_sam.data.cell_crop import cell_target, largest_component
from bc_sam.data.image_quality import measure_quality
from bc_sam.data.images import MAX_PIXELS
from bc_sam.errors import ImageError
from bc_sam.models.bc_sam import BCSam
from bc_sam.networks.features import encode_pixels
from bc_sam.networks.sam.encoding import cell_logits, upsample_logits

#: A part of the mask counts as a cell of its own if it has at least this share of the image ...
_CELL_OF_IMAGE = 0.02
#: ... and of the largest part.
_CELL_OF_LARGEST = 0.3


@dataclass(frozen=True)
class Inspection:
    """What a model sees in one image that could be read.

    Attributes:
        pixels: (S, S, 3) uint8, the image as SAM sees it.
        size: Height and width of the image itself.
        mask: (S, S) bool, the cell: the largest part of the predicted mask.
        cells: Cells in the predicted mask, that is its parts of about a cell's size.
        latent: (d,) float32.
        probabilities: For each classifier (n_labels,) float32.
        blank: Whether the image shows nothing.
        blurred: Whether it is out of focus.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    mask: np.ndarray
    cells: int
    latent: np.ndarray
    probabilities: dict[str, np.ndarray]
    blank: bool
    blurred: bool

    @property
    def crop(self) -> np.ndarray:
        """The cell cut out, (128, 128, 3) uint8."""
        return cell_target(self.pixels, self.mask)


@dataclass(frozen=True)
class Inspected:
    """One image of a stream: what the model sees in it, or why it cannot be read.

    Attributes:
        source: The image, as it was given.
        inspection: ``None`` if it cannot be read.
        error: ``None`` if it can.
    """

    source: Any
    inspection: Inspection | None
    error: ImageError | None = None


def inspect_cells(
    model: BCSam, images: Iterable[Any], *, batch_size: int = 8, max_pixels: int = MAX_PIXELS
) -> Iterator[list[Inspected]]:
    """Looks at a stream of cells, each encoded once, in constant memory; what cannot be read is said.

    Args:
        model: The model; all of its loaded classifiers are asked.
        images: Paths, bytes, PIL images or arrays, one cell each.
        batch_size: Images a step.
        max_pixels: Most pixels of an image; see `bc_sam.data.images.read_image`.

    Yields:
        The images of a step, in order.

    Example:
        >>> for step in inspect_cells(model, ["cell.tiff"]):  # doctest: +SKIP
        ...     print(step[0].inspection.probabilities["rf"].argmax())
    """
    for batch in decoded_batches(images, model.config.image_size, batch_size, max_pixels=max_pixels):
        yield inspect_batch(model, batch)


@torch.inference_mode()
def inspect_batch(model: BCSam, batch: Batch) -> list[Inspected]:
    """Looks at the images of one batch; see `inspect_cells`."""
    seen = iter(_inspections(model, batch) if len(batch.pixels) else ())
    return [
        Inspected(source, None if error else next(seen), error)
        for source, error in zip(batch.sources, batch.errors, strict=True)
    ]


@torch.inference_mode()
def redraw(model: BCSam, latent: np.ndarray) -> np.ndarray:
    """Returns what the autoencoder makes of a cell from its latent (d,) alone: (128, 128, 3) uint8."""
    (drawn,) = model.autoencoder.decode(torch.tensor(latent, device=model.device)[None])
    return (drawn * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _inspections(model: BCSam, batch: Batch) -> Iterator[Inspection]:
    features = encode_pixels(model.sam, model.config, batch.pixels)
    logits = cell_logits(model.sam, features, mask_tokens=model.config.mask_tokens)
    parts = (upsample_logits(logits, model.config.image_size) > 0).cpu().numpy()
    latents = model.autoencoder.encode(features.float()).cpu().numpy()
    said = {name: classifier.predict_proba(latents) for name, classifier in model.classifiers.items()}
    quality = measure_quality(batch.pixels, quiet=True)
    blurred = quality.blurred(np.arange(len(parts)))  # each by itself: the cells may come from anywhere
    for row, (pixels, size, part) in enumerate(zip(batch.pixels, batch.sizes, parts, strict=True)):
        mask = largest_component(part)
        yield Inspection(
            pixels=pixels,
            size=size,
            mask=mask,
            cells=count_cells(part),
            latent=latents[row],
            probabilities={name: probabilities[row] for name, probabilities in said.items()},
            blank=bool(quality.blank[row]),
            blurred=bool(blurred[row]),
        )


def count_cells(mask: np.ndarray) -> int:
    """Counts the parts of a mask (S, S) bool that are large enough to be cells of their own.

    Example:
        >>> mask = np.zeros((64, 64), dtype=bool)
        >>> mask[4:24, 4:24] = mask[40:60, 40:60] = mask[30, 30] = True
        >>> count_cells(mask)
        2
    """
    parts, count = ndimage.label(mask)
    if count == 0:
        return 0
    areas = np.bincount(parts.ravel())[1:]
    return int((areas >= max(_CELL_OF_IMAGE * mask.size, _CELL_OF_LARGEST * areas.max())).sum())
