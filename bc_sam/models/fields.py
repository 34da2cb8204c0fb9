"""Finds the white cells of a field: nuclei by their stain, outlines by the model's own masks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from bc_sam.data.appearance.light import Rgb, white_point
from bc_sam.data.appearance.normalization import Window, normalize_image
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.appearance.resolution_tags import ResolutionTag, read_resolution_tag
from bc_sam.data.fields.nuclei import (
    Candidate,
    ReducedTile,
    candidate_at,
    centroid,
    examine_tile,
    reduce_tile,
    seen_through,
)
from bc_sam.data.fields.others import Box, find_platelet_boxes, find_red_cell_boxes
from bc_sam.data.fields.outlines import continued, refine_outline
from bc_sam.data.fields.sources import Field, open_field
from bc_sam.data.fields.survey import FieldSurvey, fields_profile, glass_share, survey_field, survey_light
from bc_sam.data.fields.tiles import divide
from bc_sam.data.image_arguments import image_argument
from bc_sam.data.mask_quality import mask_limits
from bc_sam.data.preparation import require_pixel_size, sample_evenly
from bc_sam.errors import ImageError
from bc_sam.models.abstention import RejectionThresholds
from bc_sam.models.found_cells import FieldCells, FoundCell, without_repeats
from bc_sam.models.observation import InspectedCell, Observation, ObservedCell, Parts

if TYPE_CHECKING:
    from bc_sam.models.base import CellModel

# Side of the window around a cell for models that see whole images, µm; about that of their training images.
_WHOLE_IMAGE_UM = 30.0

# Side of a tile and how far it reaches into its neighbours, µm; the latter is more than the radius of any white cell.
_TILE_UM = 180.0
_MARGIN_UM = 20.0

# Smallest share of a nucleus that its predicted mask contains, and of a nucleus of which no mask is asked.
_LEAST_COVER = 0.5
_LARGE_NUCLEUS = 45.0

# Area of a nucleus that is certainly no platelet, µm².
_CERTAIN_NUCLEUS = 40.0

# Plausible areas of a white cell, µm².
_LEAST_CELL, _MOST_CELL = 25.0, 900.0

# Parts of a group of nuclei belong to one cell if the mask of one contains this share of the other.
_SAME_CELL = 0.4

# A field with less glass than this is no smear, or its colours are inverted.
_LEAST_GLASS = 0.03

# A field at most this wide, µm, with one cell in the middle of it, is a crop of a cell.
_CROP_UM = 32.0

# Maximum number of fields measured for their common scale and stain.
_FIELD_SAMPLE = 20

#: Side of the square that stands for a cell of which the model predicts no outline, µm.
SQUARE_UM = 25.0

#: Runs a model on windows; see `bc_sam.models.base.CellModel.observe`.
Observe = Callable[..., Observation]


@dataclass(frozen=True)
class Search:
    """What is sought in fields.

    Attributes:
        red_cells: Whether to count red cells.
        platelets: Whether to count platelets.
        name: Whether to name the white cells.
        classifier: Name of the classifier; by default the config's.
        abstain: Whether to give no name to cells that should not be named; see `CellModel.stream`.
        keep_observed: Whether to keep the results of all classifiers with each cell, so that it can be named again
            without the model; see `bc_sam.models.found_cells.FoundCell.observed`.
    """

    red_cells: bool = False
    platelets: bool = False
    name: bool = False
    classifier: str | None = None
    abstain: bool | RejectionThresholds = True
    keep_observed: bool = False


@dataclass(frozen=True)
class _Prompt:
    """A place of a tile at which the model is asked for a mask: its window, and the nucleus (H, W) bool there."""

    candidate: int
    nucleus: NDArray[np.bool_]
    window: Window


@dataclass(frozen=True)
class _Answer:
    """What the model says at a prompt.

    Attributes:
        prompt: The prompt.
        nucleus: (S, S) bool, the nucleus in the window.
        predicted: (S, S) bool, the predicted mask; ``None`` if the model predicts none.
        observed: The results for the window.
    """

    prompt: _Prompt
    nucleus: NDArray[np.bool_]
    predicted: NDArray[np.bool_] | None
    observed: ObservedCell

    @property
    def cover(self) -> float:
        """Share of the nucleus in the predicted mask."""
        return (
            1.0 if self.predicted is None else float(self.predicted[self.nucleus].mean()) if self.nucleus.any() else 0
        )


def profile_fields(sources: Sequence[Any], microns_per_pixel: float | None = None) -> AppearanceProfile | None:
    """Estimates the scale and stain that fields of one microscope share, from at most 20 of them.

    Args:
        sources: Fields; unreadable ones are skipped.
        microns_per_pixel: Their pixel size, µm, if known.

    Returns:
        The profile; ``None`` if no field can be read.

    Raises:
        ConfigError: If the pixel size is not plausible.
    """
    require_pixel_size(microns_per_pixel)
    surveys, tags = [], []
    for index in sample_evenly(len(sources), _FIELD_SAMPLE):
        try:
            with open_field(sources[index]) as field:
                surveys.append(survey_field(field))
                microns_per_pixel = microns_per_pixel or field.microns_per_pixel
        except ImageError:  # reported when it is searched
            continue
        tags.append(read_resolution_tag(sources[index]))
    return fields_profile(surveys, microns_per_pixel=microns_per_pixel, tags=tags) if surveys else None


def find_cells(
    model: "CellModel",
    source: Any,
    search: Search,
    *,
    microns_per_pixel: float | None = None,
    profile: AppearanceProfile | None = None,
    show_progress_bar: bool = False,
) -> FieldCells:
    """Finds the cells of one field; see `bc_sam.models.base.CellModel.find_cells`.

    Raises:
        ImageError: If the field cannot be read.
        ConfigError: If the pixel size is not plausible.
    """
    require_pixel_size(microns_per_pixel)
    with open_field(image_argument(source)) as field:
        return search_field(
            model,
            field,
            search,
            microns_per_pixel=microns_per_pixel,
            profile=profile,
            tag=read_resolution_tag(source),
            show_progress_bar=show_progress_bar,
        )


def search_field(
    model: "CellModel",
    field: Field,
    search: Search,
    *,
    microns_per_pixel: float | None = None,
    profile: AppearanceProfile | None = None,
    tag: ResolutionTag | None = None,
    observe: Observe | None = None,
    show_progress_bar: bool = False,
) -> FieldCells:
    """Finds the cells of an open field; see `find_cells`.

    Args:
        model: The model.
        field: The field.
        search: What is sought.
        microns_per_pixel: Its pixel size, µm, if known.
        profile: Scale and stain of the laboratory.
        tag: Resolution tag of its file.
        observe: Runs the model on one batch of windows, such as in turn with others; by default `model.observe`.
        show_progress_bar: Whether to show a progress bar if the field is read in several tiles.
    """
    is_known = profile is not None and profile.scale.microns_per_pixel is not None
    survey = survey_light(field) if is_known else survey_field(field)
    if profile is None or not is_known:
        stated = microns_per_pixel or field.microns_per_pixel
        own = fields_profile([survey], microns_per_pixel=stated, tags=[tag])
        profile = own if profile is None else replace(profile, scale=own.scale)
    if problem := _problem(survey, profile):
        return FieldCells(field.shape, profile=profile, problem=problem)
    finder = _Finder(model, field, search, profile, survey.measurement.white, observe)
    return finder.find(show_progress_bar)


def find_cell_at(
    model: "CellModel",
    field: Field,
    place: tuple[float, float],
    search: Search,
    profile: AppearanceProfile,
    *,
    observe: Observe | None = None,
) -> FoundCell:
    """Asks the model for the white cell at a place of a field, such as one that `find_cells` missed.

    Args:
        model: The model.
        field: The field.
        place: Row and column, pixels of the field.
        search: Whether and how to name it.
        profile: Scale and stain of the field; its scale must be known.
        observe: See `search_field`.

    Returns:
        The cell. If the model predicts no outline there, it is a square around the place; see `FoundCell.outlined`.
    """
    finder = _Finder(model, field, search, profile, survey_light(field).measurement.white, observe)
    return finder.at(place)


def _problem(survey: FieldSurvey, profile: AppearanceProfile) -> str:
    white = survey.measurement.white
    if max(glass_share(window, white) for window in survey.windows) < _LEAST_GLASS:
        return (
            "No glass is visible between the cells. It may be a section of tissue, or its colours are inverted. Give "
            "a photograph of a smear with a bright background."
        )
    if profile.scale.microns_per_pixel is None:
        return (
            "The scale could not be measured, because too few red cells were found: the field may be empty, out of "
            f"focus, or no smear. {profile.scale.reason} If it is a smear, give --microns-per-pixel."
        )
    return ""


class _Finder:
    """Finds the cells of one field at a known scale."""

    def __init__(
        self,
        model: "CellModel",
        field: Field,
        search: Search,
        profile: AppearanceProfile,
        white: Rgb,
        observe: Observe | None,
    ) -> None:
        assert profile.scale.microns_per_pixel is not None
        self.model, self.field, self.search, self.profile, self.white = model, field, search, profile, white
        self.microns = profile.scale.microns_per_pixel
        normalization = model.config.normalization
        self.window_um = normalization.field_of_view if normalization else _WHOLE_IMAGE_UM
        self.strength = None if not normalization else profile.strength if normalization.stain else (1.0, 1.0, 1.0)
        self.batch_size = model.default_batch_size
        self.observe = observe or model.observe

    def find(self, show_progress_bar: bool) -> FieldCells:
        """Searches the field tile by tile."""
        cells: list[FoundCell] = []
        red_cells: list[Box] = []
        platelets: list[Box] = []
        damaged: list[str] = []
        tiles = divide(self.field.shape, round(_TILE_UM / self.microns), round(_MARGIN_UM / self.microns))
        for tile in tqdm(tiles, unit="tile", disable=not show_progress_bar or len(tiles) == 1):
            try:
                pixels = self.field.read(*tile.reach)
            except ImageError as error:
                damaged.append(str(error))
                continue
            examined = examine_tile(reduce_tile(pixels, self.microns), self._white_of(pixels))
            found = list(self._white_cells(pixels, examined))
            in_field = (replace(cell, box=tile.to_field(cell.box)) for cell in found)
            cells += [cell for cell in in_field if tile.owns(cell.box)]
            white_cells = self._reduced_masks(found, examined, pixels.shape)
            factor = pixels.shape[0] / examined.nuclei.shape[0]
            for wanted, boxes, finder in (
                (self.search.red_cells, red_cells, find_red_cell_boxes),
                (self.search.platelets, platelets, find_platelet_boxes),
            ):
                if wanted:
                    candidates = (tile.to_field(box, factor) for box in finder(examined, white_cells))
                    boxes += [box for box in candidates if tile.owns(box)]
        cells = without_repeats(cells)
        return FieldCells(
            self.field.shape,
            tuple(sorted(cells, key=lambda cell: (cell.box[1], cell.box[0]))),
            self.profile,
            problem=self._remark(cells),
            red_cells=tuple(red_cells) if self.search.red_cells else None,
            platelets=tuple(platelets) if self.search.platelets else None,
            damaged=tuple(damaged),
        )

    def at(self, place: tuple[float, float]) -> FoundCell:
        """Asks the model at one place of the field."""
        half = round(_TILE_UM / 2 / self.microns)
        rows, columns = (
            slice(max(0, round(centre) - half), min(side, round(centre) + half))
            for centre, side in zip(place, self.field.shape, strict=True)
        )
        pixels = self.field.read(rows, columns)
        tile = examine_tile(reduce_tile(pixels, self.microns), self._white_of(pixels))
        factor = tile.nuclei.shape[0] / pixels.shape[0]
        there = (place[0] - rows.start) * factor, (place[1] - columns.start) * factor
        candidate = candidate_at(tile, there)
        prompts = [_Prompt(0, nucleus, self._window(middle, factor)) for nucleus, middle in _places(candidate)]
        whole, *parts = self._ask(pixels, prompts, factor)
        cells = _separate(parts, factor) or [whole]
        answer = min(cells, key=lambda cell: _distance(cell.prompt.nucleus, there))
        cell = self._outlined(pixels, tile, candidate, answer, factor)
        cell = cell or self._square(place, rows, columns, answer)
        left, top, right, bottom = cell.box
        return replace(cell, box=(left + columns.start, top + rows.start, right + columns.start, bottom + rows.start))

    def _square(self, place: tuple[float, float], rows: slice, columns: slice, answer: _Answer) -> FoundCell:
        """Returns a square of the tile around a place of the field, for a cell without an outline."""
        half = SQUARE_UM / 2 / self.microns
        top, bottom, left, right = (
            round(min(max(centre + reach - span.start, 0), span.stop - span.start))
            for centre, span in zip(place, (rows, columns), strict=True)
            for reach in (-half, half)
        )
        mask = np.ones((bottom - top, right - left), bool)
        outline = np.ones((answer.prompt.window.size,) * 2, bool)
        named = self._named(answer, outline, cut_off=False)
        return FoundCell((left, top, right, bottom), mask, score=0.0, outlined=False, **named)

    def _remark(self, cells: Sequence[FoundCell]) -> str:
        height, width = self.field.shape
        if len(cells) == 1 and min(height, width) * self.microns <= _CROP_UM:
            left, top, right, bottom = cells[0].box
            if abs(left + right - width) < width / 3 and abs(top + bottom - height) < height / 3:
                return "It looks like a crop of one cell. Name crops with bc-sam predict."
        return ""

    def _white_of(self, pixels: NDArray[np.uint8]) -> Rgb:
        """Returns the colour of the glass in a tile; that of the field if cells cover the tile."""
        own = white_point(pixels)
        return own if own[1] > 0.85 * self.white[1] else self.white

    def _white_cells(self, pixels: NDArray[np.uint8], tile: ReducedTile) -> Iterator[FoundCell]:
        factor = tile.nuclei.shape[0] / pixels.shape[0]
        prompts = [
            _Prompt(index, nucleus, self._window(place, factor))
            for index, candidate in enumerate(tile.candidates)
            for nucleus, place in _places(candidate)
        ]
        answers: dict[int, list[_Answer]] = {}
        for answer in self._ask(pixels, prompts, factor):
            answers.setdefault(answer.prompt.candidate, []).append(answer)
        for index, candidate in enumerate(tile.candidates):
            whole, *parts = answers[index]
            for answer in _separate(parts, factor) or [whole]:
                cell = self._outlined(pixels, tile, candidate, answer, factor)
                if cell is not None:
                    yield cell

    def _window(self, place: tuple[float, float], factor: float) -> Window:
        row, column = place[0] / factor, place[1] / factor
        half = self.window_um / self.microns / 2
        return Window(round(row - half), round(column - half), max(2, round(2 * half)), self.model.config.image_size)

    def _ask(self, pixels: NDArray[np.uint8], prompts: Sequence[_Prompt], factor: float) -> Iterator[_Answer]:
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
                yield _Answer(prompt, seen_through(prompt.nucleus, prompt.window, factor), cell.mask, cell)

    def _outlined(
        self, pixels: NDArray[np.uint8], tile: ReducedTile, candidate: Candidate, answer: _Answer, factor: float
    ) -> FoundCell | None:
        window, size = answer.prompt.window, answer.prompt.window.size
        scale = self.window_um / size
        area = float(answer.nucleus.sum()) * scale**2
        trusted = answer.predicted is not None and answer.cover >= _LEAST_COVER
        if answer.predicted is not None and not trusted and area < _LARGE_NUCLEUS:
            return None
        classical = seen_through(candidate.cell, window, factor)
        # Platelets beside a cell, which are no candidates, do not keep its mask away.
        nuclei = np.logical_or.reduce([other.nucleus for other in tile.candidates], initial=False)
        others = seen_through(tile.nuclei & nuclei & ~answer.prompt.nucleus, window, factor)
        inside = seen_through(np.ones_like(tile.nuclei), window, factor)
        predicted = answer.predicted if trusted and answer.predicted is not None else classical
        red_cells = seen_through(tile.red_cells, window, factor)
        outline = refine_outline(predicted, answer.nucleus, others, red_cells, inside, scale)
        if not _LEAST_CELL <= outline.sum() * scale**2 <= _MOST_CELL:
            return None
        mask, box = _at_full_resolution(continued(outline, inside), window, pixels.shape)
        if not mask.size:
            return None
        cut_off = _touches_border(answer.prompt.nucleus)
        score = answer.cover * min(1.0, area / _CERTAIN_NUCLEUS)
        return FoundCell(box, mask, score, cut_off, **self._named(answer, outline, cut_off))

    @property
    def _classifier(self) -> str:
        return self.search.classifier or self.model.config.default_classifier

    def _named(self, answer: _Answer, outline: NDArray[np.bool_], cut_off: bool) -> dict[str, Any]:
        """Returns the attributes of a `FoundCell` that say what the model sees in its window."""
        if not self.search.name:
            return {}
        limits = mask_limits(normalized=self.model.config.normalization is not None)
        observed = replace(answer.observed, mask=outline, n_cells=1, cut_off=cut_off, mask_limits=limits)
        prediction = self.model.prediction_of(InspectedCell(None, observed), self._classifier, self.search.abstain)
        return {"prediction": prediction, "observed": observed if self.search.keep_observed else None}

    def _reduced_masks(
        self, cells: Sequence[FoundCell], tile: ReducedTile, shape: tuple[int, ...]
    ) -> NDArray[np.bool_]:
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


def _places(candidate: Candidate) -> Iterator[tuple[NDArray[np.bool_], tuple[float, float]]]:
    """Yields the nuclei to ask for, and where: the whole group, and its parts if it may be that of several cells."""
    yield candidate.nucleus, candidate.centre
    for part in candidate.parts:
        yield part, centroid(part)


def _separate(parts: Sequence[_Answer], factor: float) -> list[_Answer]:
    """Returns one answer for each cell of a group of nuclei; nothing if it is that of one cell."""
    owner = list(range(len(parts)))
    for one in range(len(parts)):
        for other in range(one + 1, len(parts)):
            if (
                max(_contains(parts[one], parts[other], factor), _contains(parts[other], parts[one], factor))
                > _SAME_CELL
            ):
                kept, merged = owner[one], owner[other]
                owner = [kept if index == merged else index for index in owner]
    cells = sorted(set(owner))
    if len(cells) < 2:
        return []
    return [
        _joined([part for part, index in zip(parts, owner, strict=True) if index == cell], factor) for cell in cells
    ]


def _contains(one: _Answer, other: _Answer, factor: float) -> float:
    """Returns the share of another part's nucleus that the mask of one contains."""
    if one.predicted is None:
        return 1.0
    nucleus = seen_through(other.prompt.nucleus, one.prompt.window, factor)
    return float(one.predicted[nucleus].mean()) if nucleus.any() else 0.0


def _joined(parts: Sequence[_Answer], factor: float) -> _Answer:
    """Returns the answer for the largest of the parts of a cell, with the nuclei of all."""
    largest = max(parts, key=lambda part: part.prompt.nucleus.sum())
    nucleus = np.logical_or.reduce([part.prompt.nucleus for part in parts])
    prompt = replace(largest.prompt, nucleus=nucleus)
    return replace(largest, prompt=prompt, nucleus=seen_through(nucleus, prompt.window, factor))


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


def _distance(nucleus: NDArray[np.bool_], place: tuple[float, float]) -> float:
    """Returns the distance of a place from the nearest pixel of a nucleus, pixels."""
    return float(np.hypot(*(np.argwhere(nucleus) + 0.5 - place).T).min())


def _touches_border(nucleus: NDArray[np.bool_]) -> bool:
    return bool(nucleus[0].any() or nucleus[-1].any() or nucleus[:, 0].any() or nucleus[:, -1].any())
