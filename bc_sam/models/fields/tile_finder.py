"""Finds the cells of one tile of a field."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bc_sam.data.appearance.light import Rgb, white_point
from bc_sam.data.appearance.normalization import Window, normalize_image
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.fields.nuclei import ReducedTile, candidate_at, examine_tile, reduce_tile, seen_through
from bc_sam.data.fields.others import Box, find_platelet_boxes
from bc_sam.data.fields.red_cells import find_red_cell_boxes
from bc_sam.data.mask_quality import mask_limits
from bc_sam.models.fields.cell_outline import outline_cell
from bc_sam.models.fields.prompts import Answer, Prompt, places_to_ask, tell_apart
from bc_sam.models.fields.search import Observe, Search
from bc_sam.models.found_cells import FoundCell
from bc_sam.models.observation import InspectedCell, Parts

if TYPE_CHECKING:
    from bc_sam.models.base import CellModel

#: Side of the square that stands for a cell of which the model predicts no outline, µm.
SQUARE_UM = 25.0

# Side of the window around a cell for models that see whole images, µm; about that of their training images.
_WHOLE_IMAGE_UM = 30.0

# The glass of a tile is at least this bright, relative to that of the field; otherwise cells cover the tile.
_LEAST_OWN_GLASS = 0.85


@dataclass(frozen=True, eq=False)
class TileCells:
    """The cells of one tile; their boxes are in its pixels.

    Attributes:
        white_cells: The white cells.
        red_cells: Boxes of red cells; empty if they are not sought.
        platelets: Boxes of platelets; empty if they are not sought.
    """

    white_cells: tuple[FoundCell, ...]
    red_cells: tuple[Box, ...]
    platelets: tuple[Box, ...]


class TileFinder:
    """Finds the cells of the tiles of a field at a known scale.

    Args:
        model: The model.
        search: What is sought.
        profile: Scale, which must be known, and stain of the field.
        white: Colour of the field's glass.
        observe: Runs the model on one batch of windows; by default `model.observe`.
    """

    def __init__(
        self,
        model: "CellModel",
        search: Search,
        profile: AppearanceProfile,
        white: Rgb,
        observe: Observe | None = None,
    ) -> None:
        assert profile.scale.microns_per_pixel is not None
        self.model, self.search, self.white = model, search, white
        self.microns = profile.scale.microns_per_pixel
        normalization = model.config.normalization
        self.window_um = normalization.field_of_view if normalization else _WHOLE_IMAGE_UM
        self.strength = None if not normalization else profile.strength if normalization.stain else (1.0, 1.0, 1.0)
        self.batch_size = model.default_batch_size
        self.observe = observe or model.observe
        #: What the cells of a tile depend on besides its pixels and the weights.
        self.description = repr((type(model).__name__, search, profile, white))

    def find(self, pixels: NDArray[np.uint8]) -> TileCells:
        """Finds the cells of a tile (H, W, 3) uint8, RGB."""
        tile = self._examine(pixels)
        found = tuple(self._white_cells(pixels, tile))
        masks = _reduced_masks(found, tile, pixels.shape)
        factor = pixels.shape[0] / tile.nuclei.shape[0]
        red_cells = find_red_cell_boxes(tile, masks) if self.search.red_cells else []
        platelets = find_platelet_boxes(tile, masks) if self.search.platelets else []
        return TileCells(
            found,
            tuple(_enlarged(box, factor, pixels.shape) for box in red_cells),
            tuple(_enlarged(box, factor, pixels.shape) for box in platelets),
        )

    def at(self, pixels: NDArray[np.uint8], place: tuple[float, float]) -> FoundCell:
        """Asks the model for the cell at a place of a tile.

        Args:
            pixels: (H, W, 3) uint8, RGB.
            place: Row and column, pixels.
        """
        tile = self._examine(pixels)
        factor = tile.nuclei.shape[0] / pixels.shape[0]
        there = place[0] * factor, place[1] * factor
        candidate = candidate_at(tile, there)
        prompts = [Prompt(0, nucleus, self._window(middle, factor)) for nucleus, middle in places_to_ask(candidate)]
        answers = tell_apart(list(self._ask(pixels, prompts, factor)), factor)
        answer = min(answers, key=lambda cell: cell.distance(there))
        outline = outline_cell(answer, candidate, tile, pixels.shape, self.window_um)
        if outline is None:
            return self._square(place, pixels.shape, answer)
        named = self._named(answer, outline.in_window, outline.cut_off)
        return FoundCell(outline.box, outline.mask, outline.score, outline.cut_off, **named)

    def _examine(self, pixels: NDArray[np.uint8]) -> ReducedTile:
        return examine_tile(reduce_tile(pixels, self.microns), self._white_of(pixels))

    def _white_of(self, pixels: NDArray[np.uint8]) -> Rgb:
        """Returns the colour of the glass in a tile; that of the field if cells cover the tile."""
        own = white_point(pixels)
        return own if own[1] > _LEAST_OWN_GLASS * self.white[1] else self.white

    def _white_cells(self, pixels: NDArray[np.uint8], tile: ReducedTile) -> Iterator[FoundCell]:
        factor = tile.nuclei.shape[0] / pixels.shape[0]
        prompts = [
            Prompt(index, nucleus, self._window(place, factor))
            for index, candidate in enumerate(tile.candidates)
            for nucleus, place in places_to_ask(candidate)
        ]
        answers: dict[int, list[Answer]] = {}
        for answer in self._ask(pixels, prompts, factor):
            answers.setdefault(answer.prompt.candidate, []).append(answer)
        for index, candidate in enumerate(tile.candidates):
            for answer in tell_apart(answers[index], factor):
                outline = outline_cell(answer, candidate, tile, pixels.shape, self.window_um)
                if outline is not None:
                    named = self._named(answer, outline.in_window, outline.cut_off)
                    yield FoundCell(outline.box, outline.mask, outline.score, outline.cut_off, **named)

    def _window(self, place: tuple[float, float], factor: float) -> Window:
        row, column = place[0] / factor, place[1] / factor
        half = self.window_um / self.microns / 2
        return Window(round(row - half), round(column - half), max(2, round(2 * half)), self.model.config.image_size)

    def _ask(self, pixels: NDArray[np.uint8], prompts: Sequence[Prompt], factor: float) -> Iterator[Answer]:
        white = self._white_of(pixels)
        # None: all
        classifiers = None if self.search.keep_observed else [self._classifier]
        parts = Parts.MASKS
        if self.search.name:
            parts = Parts.ALL if self.search.abstain is not False else parts | Parts.EMBEDDINGS | Parts.PROBABILITIES
        for start in range(0, len(prompts), self.batch_size):
            batch = prompts[start : start + self.batch_size]
            shown = np.stack([normalize_image(pixels, prompt.window, white, self.strength) for prompt in batch])
            observed = self.observe(shown, parts, classifiers=classifiers)
            for prompt, cell in zip(batch, observed.cells(), strict=True):
                yield Answer(prompt, seen_through(prompt.nucleus, prompt.window, factor), cell.mask, cell)

    def _square(self, place: tuple[float, float], shape: tuple[int, ...], answer: Answer) -> FoundCell:
        """Returns a square around a place, for a cell without an outline."""
        half = SQUARE_UM / 2 / self.microns
        top, bottom, left, right = (
            round(min(max(centre + reach, 0), side))
            for centre, side in zip(place, shape[:2], strict=True)
            for reach in (-half, half)
        )
        mask = np.ones((bottom - top, right - left), bool)
        outline = np.ones((answer.prompt.window.size,) * 2, bool)
        named = self._named(answer, outline, cut_off=False)
        return FoundCell((left, top, right, bottom), mask, score=0.0, outlined=False, **named)

    @property
    def _classifier(self) -> str:
        return self.search.classifier or self.model.config.default_classifier

    def _named(self, answer: Answer, outline: NDArray[np.bool_], cut_off: bool) -> dict[str, Any]:
        """Returns the attributes of a `FoundCell` that say what the model sees in its window."""
        if not self.search.name:
            return {}
        limits = mask_limits(normalized=self.model.config.normalization is not None)
        observed = replace(answer.observed, mask=outline, n_cells=1, cut_off=cut_off, mask_limits=limits)
        prediction = self.model.prediction_of(InspectedCell(None, observed), self._classifier, self.search.abstain)
        return {"prediction": prediction, "observed": observed if self.search.keep_observed else None}


def _enlarged(box: Box, factor: float, shape: tuple[int, ...]) -> Box:
    """Returns a box of a reduced tile as a box of the tile."""
    left, top, right, bottom = (round(edge * factor) for edge in box)
    return left, top, min(right, shape[1]), min(bottom, shape[0])


def _reduced_masks(cells: Sequence[FoundCell], tile: ReducedTile, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Returns the pixels of all white cells in the reduced tile, (H, W) bool."""
    everything = np.zeros(tile.nuclei.shape, bool)
    factor = len(everything) / shape[0]
    for cell in cells:
        left, top, right, bottom = (round(edge * factor) for edge in cell.box)
        place = everything[top:bottom, left:right]
        if place.size:
            small = Image.fromarray(cell.mask).resize(place.shape[::-1], Image.Resampling.NEAREST)
            place |= np.asarray(small)
    return everything
