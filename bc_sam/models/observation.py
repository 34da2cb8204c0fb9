"""The results of inference: masks, embeddings, probabilities and image quality, per batch and per cell."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import Any

import numpy as np

from bc_sam.data.batches import Batch
from bc_sam.data.cell_crop import cell_target, label_components
from bc_sam.data.image_quality import Quality
from bc_sam.data.mask_quality import WHOLE_IMAGE, MaskLimits, mask_limits
from bc_sam.data.preparation import PreparedImage
from bc_sam.errors import ImageError

# A connected component of a mask counts as a cell if it covers at least this share of the image ...
_CELL_OF_IMAGE = 0.02
# ... and has at least this share of the area of the largest component.
_CELL_OF_LARGEST = 0.3


class Parts(Flag):
    """What to compute for a batch; combine parts with ``|``. Only the requested parts are computed."""

    EMBEDDINGS = auto()
    MASKS = auto()
    PROBABILITIES = auto()
    QUALITY = auto()
    OOD = auto()
    ALL = EMBEDDINGS | MASKS | PROBABILITIES | QUALITY | OOD


@dataclass(frozen=True)
class ObservedCell:
    """The results for one image. Parts that were not computed are ``None`` or empty.

    Attributes:
        pixels: (S, S, 3) uint8, the resized image.
        mask: (S, S) bool, the largest component of the predicted mask; also ``None`` if the model predicts no masks.
        n_cells: Number of components of the predicted mask that are large enough to be cells, or of white cells in the
            whole image if that is more.
        embedding: (d,) float32.
        probabilities: (n_labels,) float32 for each requested classifier.
        ood: Out-of-distribution score, 0..1, see `bc_sam.classifiers.ood.OodScore`; also ``None`` if the model stores
            too few reference embeddings.
        blank: Whether the image is blank.
        blurred: Whether it is out of focus.
        cut_off: Whether the border of a field cuts off the cell's nucleus; unknown for crops.
        no_nucleus: Whether what is stained like a nucleus is too small and pale for one; unknown if images are not
            normalized.
        size_assumed: Whether the cell is taken to be of average size, since nothing else in the image has a known one.
        scale_problem: Why the cell's size cannot be trusted; empty if it can, or if images are not normalized.
        mask_limits: Which masks are plausible, given what the encoder sees of an image.
    """

    pixels: np.ndarray
    mask: np.ndarray | None = None
    n_cells: int | None = None
    embedding: np.ndarray | None = None
    probabilities: Mapping[str, np.ndarray] = field(default_factory=dict)
    ood: float | None = None
    blank: bool = False
    blurred: bool = False
    cut_off: bool = False
    no_nucleus: bool = False
    size_assumed: bool = False
    scale_problem: str = ""
    mask_limits: MaskLimits = WHOLE_IMAGE

    @property
    def crop(self) -> np.ndarray | None:
        """The cell on grey, (128, 128, 3) uint8; ``None`` without a mask."""
        return None if self.mask is None else cell_target(self.pixels, self.mask)


@dataclass(frozen=True)
class Observation:
    """The results for a batch of n images, in order. Parts that were not computed are ``None`` or empty.

    Attributes:
        pixels: (n, S, S, 3) uint8, the images.
        masks: (n, S, S) bool, the largest component of each predicted mask.
        n_cells: (n,) int64, number of components of each predicted mask that are large enough to be cells.
        embeddings: (n, d) float32.
        probabilities: (n, n_labels) float32 for each requested classifier.
        ood: (n,) float64, out-of-distribution scores, 0..1.
        quality: Contrast and sharpness of the images.
    """

    pixels: np.ndarray
    masks: np.ndarray | None = None
    n_cells: np.ndarray | None = None
    embeddings: np.ndarray | None = None
    probabilities: Mapping[str, np.ndarray] = field(default_factory=dict)
    ood: np.ndarray | None = None
    quality: Quality | None = None

    def cells(self) -> Iterator[ObservedCell]:
        """Yields the results for each image."""
        rows = np.arange(len(self.pixels))
        quality = self.quality
        blurred = quality.blurred(rows) if quality else None  # each by itself, as laboratories may differ
        for row in rows:
            yield ObservedCell(
                pixels=self.pixels[row],
                mask=None if self.masks is None else self.masks[row],
                n_cells=None if self.n_cells is None else int(self.n_cells[row]),
                embedding=None if self.embeddings is None else self.embeddings[row],
                probabilities={name: values[row] for name, values in self.probabilities.items()},
                ood=None if self.ood is None else float(self.ood[row]),
                blank=quality is not None and bool(quality.blank[row]),
                blurred=blurred is not None and bool(blurred[row]),
            )


@dataclass(frozen=True)
class InspectedCell:
    """One image of a stream, with its results or the error of reading it.

    Attributes:
        source: The image as passed.
        observed: The results; ``None`` if the image is unreadable.
        prepared: The image as the encoder sees it; ``None`` if it is unreadable.
        error: Why it is unreadable, or ``None``.
    """

    source: Any
    observed: ObservedCell | None = None
    prepared: PreparedImage | None = None
    error: ImageError | None = None


def match_sources(batch: Batch, observation: Observation) -> Iterator[InspectedCell]:
    """Yields an entry for each image of a batch, in order, unreadable ones included.

    Args:
        batch: The images.
        observation: The results for the readable ones.
    """
    readable = zip(observation.cells(), batch.prepared, strict=True)
    for source, error in zip(batch.sources, batch.errors, strict=True):
        if error is not None:
            yield InspectedCell(source, error=error)
        else:
            observed, prepared = next(readable)
            yield InspectedCell(source, _with_preparation(observed, prepared), prepared)


def _with_preparation(observed: ObservedCell, prepared: PreparedImage) -> ObservedCell:
    """Adds what only the whole image shows: other white cells, and whether the scale is plausible."""
    n_cells = max(observed.n_cells or 0, prepared.n_white_cells)
    return replace(
        observed,
        no_nucleus=prepared.no_nucleus,
        size_assumed=prepared.size_assumed,
        scale_problem=prepared.scale_problem,
        mask_limits=mask_limits(normalized=prepared.window is not None),
        n_cells=n_cells or observed.n_cells,
    )


def separate_cells(foreground: np.ndarray) -> tuple[np.ndarray, int]:
    """Separates the main cell of a predicted mask, and counts all cells in it.

    Args:
        foreground: (S, S) bool.

    Returns:
        The largest connected component (S, S) bool, and the number of components that are large enough to be cells.

    Example:
        >>> foreground = np.zeros((64, 64), dtype=bool)
        >>> foreground[4:24, 4:24] = foreground[40:60, 40:60] = foreground[30, 30] = True
        >>> mask, n_cells = separate_cells(foreground)
        >>> int(mask.sum()), n_cells
        (400, 2)
    """
    components, areas = label_components(foreground)
    if not len(areas):
        return components > 0, 0
    smallest = max(_CELL_OF_IMAGE * foreground.size, _CELL_OF_LARGEST * areas.max())
    return components == areas.argmax() + 1, int((areas >= smallest).sum())
