"""The pixel size of each laboratory of a data set, from a sample of its images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bc_sam.data.appearance.magnification import RED_CELL_UM, Measurement, Scale, describe_scale, domain_scale, measure
from bc_sam.data.appearance.resolution_tags import ResolutionTag
from bc_sam.data.preparation import map_in_threads, measure_source, sample_evenly
from bc_sam.data.store import CellStore

if TYPE_CHECKING:
    from datasets import Dataset

#: Largest ratio between the cell sizes of two laboratories, as seen by the encoder, that raises no warning.
MOST_DIFFERENT = 1.5


@dataclass(frozen=True)
class DomainScale:
    """The scale of a laboratory.

    Attributes:
        microns_per_pixel: Side of a pixel of the original images, µm; ``None`` if unknown.
        ruler: What the pixel size was derived from; see `bc_sam.data.appearance.magnification.Scale`.
        n_images: Number of images in which the ruler was found.
        n_sampled: Number of images that were measured.
        stored_microns_per_pixel: Side of a pixel of the squares that the encoder sees, µm: median over the laboratory,
            geometric mean of width and height.
        reason: Why better rulers were not used; empty if none was rejected.
    """

    microns_per_pixel: float | None
    ruler: str
    n_images: int
    n_sampled: int
    stored_microns_per_pixel: float | None = None
    reason: str = ""

    @property
    def stored_red_cell_px(self) -> float | None:
        """Width of a red cell in the squares that the encoder sees, pixels."""
        return RED_CELL_UM / self.stored_microns_per_pixel if self.stored_microns_per_pixel else None

    def __str__(self) -> str:
        found, measured = self.n_images, self.n_sampled
        return describe_scale(
            self.microns_per_pixel, self.ruler, n_found=found, n_measured=measured, reason=self.reason
        )


def stored_scales(cells: CellStore) -> dict[str, DomainScale]:
    """Estimates the scale of each laboratory from the stored squares.

    Cells stored at a common scale have the scale of their laboratory's profile. Otherwise each square is resized to
    the aspect ratio of its original image before it is measured, with the resolution tags read when it was decoded.

    Args:
        cells: The decoded cells.

    Returns:
        The scale of each laboratory, by name.
    """
    return {name: _stored_scale(cells, domain) for domain, name in enumerate(cells.table.domain_names)}


def dataset_scale(dataset: "Dataset") -> DomainScale:
    """Estimates the scale of a single laboratory's data set from its image files; unreadable images are skipped.

    Args:
        dataset: As returned by the loaders of `bc_sam.data`.

    Returns:
        The scale, without `stored_microns_per_pixel`.

    Example:
        >>> from bc_sam.data import load_rendered
        >>> rendered = load_rendered("barcelona", cells_per_class=1)  # 34 µm wide, 224 px
        >>> found = dataset_scale(rendered)
        >>> found.ruler, abs(found.microns_per_pixel / (34 / 224) - 1) < 0.15
        ('red cells', True)
    """
    from datasets import Image as ImageFeature

    rows = dataset.cast_column("image", ImageFeature(decode=False)).select(sample_evenly(len(dataset)))
    measured = [found for found in map_in_threads(measure_source, rows["image"]) if found is not None]
    scale = domain_scale((m for m, _ in measured), tags=(tag for _, tag in measured))
    return _domain_scale(scale, len(measured))


def encoder_scale_warning(scales: Mapping[str, DomainScale]) -> str:
    """Names the two laboratories whose cells reach the encoder at the most different sizes.

    Returns:
        A sentence; empty if the sizes differ by a factor of at most `MOST_DIFFERENT`, or fewer than two are known.

    Example:
        >>> scales = {"one": DomainScale(0.1, "given", 9, 9, 0.15), "two": DomainScale(0.1, "given", 9, 9, 0.3)}
        >>> encoder_scale_warning(scales)
        'Cells of one reach the encoder 2.0 times as large as those of two: a red cell is 50 px wide instead of 25 px.'
    """
    widths = {name: width for name, scale in scales.items() if (width := scale.stored_red_cell_px) is not None}
    if not widths:
        return ""
    largest, smallest = max(widths, key=widths.__getitem__), min(widths, key=widths.__getitem__)
    ratio = widths[largest] / widths[smallest]
    if ratio <= MOST_DIFFERENT:
        return ""
    return (
        f"Cells of {largest} reach the encoder {ratio:.1f} times as large as those of {smallest}: a red cell is "
        f"{widths[largest]:.0f} px wide instead of {widths[smallest]:.0f} px."
    )


def _stored_scale(cells: CellStore, domain: int) -> DomainScale:
    table = cells.table
    if table.profiles:
        profile, scale = table.profiles[domain], table.profiles[domain].scale
        target = table.field_of_view / cells.image_size if table.field_of_view and scale.microns_per_pixel else None
        return DomainScale(
            scale.microns_per_pixel, scale.ruler, scale.n_images, profile.n_images, target, scale.reason
        )
    rows = np.flatnonzero(cells.domains == domain)
    sampled = rows[sample_evenly(len(rows))]
    sizes = [table.sizes[row] for row in sampled]
    measured = map_in_threads(_measure_square, zip(cells.pixels[sampled], sizes, strict=True))
    stated = [table.resolution_tags[row] for row in sampled] if table.resolution_tags else []
    tags = [None if size is None else ResolutionTag(size, f"{size:.3g} µm") for size in stated]
    scale = domain_scale(measured, tags=tags)
    # An image of h x w pixels was resized to S x S: on average, a stored pixel is sqrt(h w) / S original pixels wide.
    shrinking = float(np.median([np.sqrt(height * width) for height, width in sizes])) / cells.image_size
    return _domain_scale(scale, len(sampled), shrinking)


def _domain_scale(scale: Scale, n_sampled: int, shrinking: float | None = None) -> DomainScale:
    size = scale.microns_per_pixel
    stored = None if size is None or shrinking is None else size * shrinking
    return DomainScale(size, scale.ruler, scale.n_images, n_sampled, stored, scale.reason)


def _measure_square(stored: tuple[NDArray[np.uint8], tuple[int, int]]) -> Measurement:
    """Measures a stored square (S, S, 3) in the pixels of its original image (height, width)."""
    pixels, (height, width) = stored
    factor = len(pixels) / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return measure(image).rescaled(1 / factor)
