"""From an answer of the model to the outline of a white cell, or to none if it is no white cell."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bc_sam.data.appearance.normalization import Window
from bc_sam.data.fields.nuclei import Candidate, ReducedTile, seen_through
from bc_sam.data.fields.others import Box
from bc_sam.data.fields.outlines import continued, refine_outline
from bc_sam.models.fields.prompts import Answer

# Smallest share of a nucleus that its predicted mask contains, and area of a nucleus of which no mask is asked, µm².
_LEAST_COVER = 0.5
_LARGE_NUCLEUS = 45.0

# Area of a nucleus that is certainly no platelet, µm².
_CERTAIN_NUCLEUS = 40.0

# Plausible areas of a white cell, µm².
_LEAST_CELL, _MOST_CELL = 25.0, 900.0


@dataclass(frozen=True)
class CellOutline:
    """The outline of a white cell.

    Attributes:
        box: Left, top, right and bottom edge, pixels of the tile.
        mask: (bottom - top, right - left) bool, the cell within its box.
        in_window: (S, S) bool, the cell in the window that the model saw.
        score: How surely it is a white cell, 0..1; see `bc_sam.models.found_cells.FoundCell`.
        cut_off: Whether the border of the tile cuts off its nucleus.
    """

    box: Box
    mask: NDArray[np.bool_]
    in_window: NDArray[np.bool_]
    score: float
    cut_off: bool


def outline_cell(
    answer: Answer, candidate: Candidate, tile: ReducedTile, shape: tuple[int, ...], window_um: float
) -> CellOutline | None:
    """Outlines the cell around a nucleus.

    Args:
        answer: What the model says there.
        candidate: The candidate, whose classical outline is used where the predicted mask misses a large nucleus.
        tile: The reduced tile.
        shape: Height and width of the tile, pixels.
        window_um: Side of the window, µm.

    Returns:
        The outline; ``None`` if it is no white cell.
    """
    window = answer.prompt.window
    scale = window_um / window.size
    factor = tile.nuclei.shape[0] / shape[0]
    area = float(answer.nucleus.sum()) * scale**2
    trusted = answer.predicted is not None and answer.cover >= _LEAST_COVER
    if answer.predicted is not None and not trusted and area < _LARGE_NUCLEUS:
        return None
    # Platelets beside a cell, which are no candidates, do not keep its mask away.
    nuclei = np.logical_or.reduce([other.nucleus for other in tile.candidates], initial=False)
    others = seen_through(tile.nuclei & nuclei & ~answer.prompt.nucleus, window, factor)
    inside = seen_through(np.ones_like(tile.nuclei), window, factor)
    classical = seen_through(candidate.cell, window, factor)
    predicted = answer.predicted if trusted and answer.predicted is not None else classical
    red_cells = seen_through(tile.red_cells, window, factor)
    outline = refine_outline(predicted, answer.nucleus, others, red_cells, inside, scale)
    if not _LEAST_CELL <= outline.sum() * scale**2 <= _MOST_CELL:
        return None
    mask, box = _at_full_resolution(continued(outline, inside), window, shape)
    if not mask.size:
        return None
    score = answer.cover * min(1.0, area / _CERTAIN_NUCLEUS)
    return CellOutline(box, mask, outline, score, _touches_border(answer.prompt.nucleus))


def _at_full_resolution(
    outline: NDArray[np.bool_], window: Window, shape: tuple[int, ...]
) -> tuple[NDArray[np.bool_], Box]:
    """Returns a mask of a window at the resolution of the tile, cropped to its box, and the box."""
    smooth = Image.fromarray(outline.astype(np.uint8) * 255)
    square = np.asarray(smooth.resize((window.side, window.side), Image.Resampling.BILINEAR)) > 127
    target, place = window.overlap(shape)
    mask = square[place]
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros((0, 0), bool), (0, 0, 0, 0)
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, left = target[0].start + int(rows[0]), target[1].start + int(columns[0])
    return mask, (left, top, left + mask.shape[1], top + mask.shape[0])


def _touches_border(nucleus: NDArray[np.bool_]) -> bool:
    return bool(nucleus[0].any() or nucleus[-1].any() or nucleus[:, 0].any() or nucleus[:, -1].any())
