"""The cells that were found in a field."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.fields.others import Box
from bc_sam.models.observation import ObservedCell
from bc_sam.models.prediction import Prediction

# Two cells are one that was found twice if they share this much of the smaller one.
_SAME_OUTLINE = 0.5


@dataclass(frozen=True, eq=False)
class FoundCell:
    """A white cell of a field.

    Attributes:
        box: Left, top, right and bottom edge, pixels of the field.
        mask: (bottom - top, right - left) bool, the cell within its box.
        score: How surely it is a white cell, 0..1: the share of its nucleus in the predicted mask, lower for nuclei
            that are hardly larger than platelets.
        cut_off: Whether the border of the field cuts off its nucleus.
        prediction: Its name, or why it has none; ``None`` if cells were not named.
        outlined: Whether the mask is its outline; else it is a square around a place at which the model, asked by a
            person, predicts none.
        observed: What the model computes for its window, with all classifiers; ``None`` unless
            `bc_sam.models.fields.Search.keep_observed` asks for it.
    """

    box: Box
    mask: NDArray[np.bool_]
    score: float
    cut_off: bool = False
    prediction: Prediction | None = None
    outlined: bool = True
    observed: ObservedCell | None = None

    def full_mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Returns the mask in a field of this height and width, (H, W) bool."""
        full = np.zeros(shape, bool)
        left, top, right, bottom = self.box
        full[top:bottom, left:right] = self.mask
        return full


@dataclass(frozen=True, eq=False)
class FieldCells:
    """The cells of one field.

    Attributes:
        shape: Height and width of the field, pixels.
        cells: The white cells, from top to bottom.
        profile: Scale and stain by which they were found.
        problem: Why the field cannot be searched, or what is unusual about it; empty if nothing is.
        red_cells: Boxes of red cells, pixels; ``None`` if they were not counted.
        platelets: Boxes of platelets, pixels; ``None`` if they were not counted.
        damaged: What of the field could not be read, one sentence for each part.
    """

    shape: tuple[int, int]
    cells: tuple[FoundCell, ...] = ()
    profile: AppearanceProfile | None = None
    problem: str = ""
    red_cells: tuple[Box, ...] | None = None
    platelets: tuple[Box, ...] | None = None
    damaged: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def boxes(self) -> NDArray[np.int64]:
        """(n, 4) int64, left, top, right and bottom edge of each white cell, pixels."""
        return np.array([cell.box for cell in self.cells], np.int64).reshape(-1, 4)

    @property
    def counts(self) -> Counter[str]:
        """Number of white cells by name; cells without a name are not counted."""
        predictions = (cell.prediction for cell in self.cells)
        return Counter(found.label for found in predictions if found is not None and found.label is not None)


def without_repeats(cells: Sequence[FoundCell]) -> list[FoundCell]:
    """Drops cells that overlap a better one, such as those that two tiles outline differently."""
    ranked = sorted(cells, key=lambda cell: -cell.score)
    left, top, right, bottom = np.array([cell.box for cell in ranked], int).reshape(-1, 4).T
    kept = np.zeros(len(ranked), bool)
    for index, cell in enumerate(ranked):
        near = kept & (left < right[index]) & (right > left[index]) & (top < bottom[index]) & (bottom > top[index])
        kept[index] = all(_overlap(cell, ranked[other]) < _SAME_OUTLINE for other in np.flatnonzero(near))
    return [cell for cell, is_kept in zip(ranked, kept, strict=True) if is_kept]


def _overlap(one: FoundCell, other: FoundCell) -> float:
    """Returns the common area of two cells, whose boxes overlap, as a share of the smaller one."""
    left, top = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    right, bottom = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    shared = [
        cell.mask[top - cell.box[1] : bottom - cell.box[1], left - cell.box[0] : right - cell.box[0]]
        for cell in (one, other)
    ]
    return float((shared[0] & shared[1]).sum()) / max(1, min(one.mask.sum(), other.mask.sum()))
