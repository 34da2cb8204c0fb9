"""Renders the image of one cell with its mask."""

import numpy as np
from numpy.typing import NDArray

from bc_sam.config.labels import LABELS
from bc_sam.data.rendering.cell_types import CELL_TYPES
from bc_sam.data.rendering.laboratory import Laboratory
from bc_sam.data.rendering.shapes import Frame
from bc_sam.data.rendering.smear import draw_smear
from bc_sam.data.rendering.white_cell import draw_white_cell
from bc_sam.errors import ConfigError, DataError


def render_cell(
    label: str, laboratory: Laboratory, rng: np.random.Generator, size: int = 224
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Renders one cell as imaged by a laboratory.

    Args:
        label: One of `bc_sam.config.labels.LABELS`.
        laboratory: Stain, microscope and camera, such as ``LABORATORIES["munich"]``.
        rng: Random generator. Equal states give equal pixels.
        size: Side of the image, pixels. The field of view does not depend on it.

    Returns:
        The image, uint8 (size, size, 3), RGB; and its mask, uint8 (size, size): 0 background, 1 cytoplasm, 2 nucleus.

    Raises:
        DataError: If the label is unknown.
        ConfigError: If `size` is below 32 pixels.

    Example:
        >>> import numpy as np
        >>> from bc_sam.data.rendering.laboratory import LABORATORIES
        >>> image, mask = render_cell("monocyte", LABORATORIES["munich"], np.random.default_rng(0))
        >>> image.shape, mask.max()
        ((224, 224, 3), np.uint8(2))
    """
    check_label(label)
    check_size(size)
    frame = Frame(size, laboratory.width)
    # Separate generators, so that the draws of one part do not affect the others.
    cell_rng, smear_rng, camera_rng = (np.random.default_rng(rng.integers(2**63)) for _ in range(3))
    cell = draw_white_cell(CELL_TYPES[label], frame, cell_rng)
    smear = draw_smear(cell, laboratory.crowding, frame, smear_rng)
    return laboratory.photograph(smear, frame, camera_rng), cell.mask


def check_label(label: str) -> None:
    """Raises a DataError unless a label is known."""
    if label not in CELL_TYPES:
        raise DataError(f"Unknown label {label!r}. Choose one of {', '.join(LABELS)}.")


def check_size(size: int) -> None:
    """Raises a ConfigError if an image is too small, given its side in pixels."""
    if size < 32:
        raise ConfigError(f"size must be at least 32 pixels, but is {size}.")
