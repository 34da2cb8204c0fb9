"""Finds the cells of a field of any size, tile by tile."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.appearance.resolution_tags import ResolutionTag, read_resolution_tag
from bc_sam.data.fields.others import Box
from bc_sam.data.fields.recognition import WIDEST_CROP_UM
from bc_sam.data.fields.sources import Field, open_field
from bc_sam.data.fields.survey import fields_profile, survey_field, survey_light
from bc_sam.data.fields.tiles import Damage, divide, read_tiles
from bc_sam.data.image_arguments import image_argument
from bc_sam.data.preparation import require_pixel_size
from bc_sam.models.fields.profile import field_problem
from bc_sam.models.fields.search import Observe, Search
from bc_sam.models.fields.tile_finder import TileCells, TileFinder
from bc_sam.models.fields.tile_store import TileStore
from bc_sam.models.found_cells import FieldCells, FoundCell, without_repeats

if TYPE_CHECKING:
    from bc_sam.models.base import CellModel

# Side of a tile and how far it reaches into its neighbours, µm; the latter is more than the radius of any white cell.
_TILE_UM = 180.0
_MARGIN_UM = 20.0


def find_cells(
    model: "CellModel",
    source: Any,
    search: Search,
    *,
    microns_per_pixel: float | None = None,
    profile: AppearanceProfile | None = None,
    store: TileStore | None = None,
    show_progress_bar: bool = False,
) -> FieldCells:
    """Finds the cells of one field; see `bc_sam.models.base.CellModel.find_cells` and `search_field`.

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
            store=store,
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
    tile_um: float = _TILE_UM,
    store: TileStore | None = None,
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
        tile_um: Largest side of a tile without its margin, µm.
        store: Keeps finished tiles of fields that are read in several, and those are not searched again.
        show_progress_bar: Whether to show a progress bar if the field is read in several tiles.

    Raises:
        ImageError: If no part of the field can be read.
    """
    is_known = profile is not None and profile.scale.microns_per_pixel is not None
    survey = survey_light(field) if is_known else survey_field(field)
    if profile is None or not is_known:
        stated = microns_per_pixel or field.microns_per_pixel
        own = fields_profile([survey], microns_per_pixel=stated, tags=[tag])
        profile = own if profile is None else replace(profile, scale=own.scale)
    if problem := field_problem(survey, profile):
        return FieldCells(field.shape, profile=profile, problem=problem)
    finder = TileFinder(model, search, profile, survey.measurement.white, observe)
    return _search_tiles(finder, field, profile, tile_um, store, show_progress_bar)


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
    finder = TileFinder(model, search, profile, survey_light(field).measurement.white, observe)
    half = round(_TILE_UM / 2 / finder.microns)
    rows, columns = (
        slice(max(0, round(centre) - half), min(side, round(centre) + half))
        for centre, side in zip(place, field.shape, strict=True)
    )
    cell = finder.at(field.read(rows, columns), (place[0] - rows.start, place[1] - columns.start))
    left, top, right, bottom = cell.box
    return replace(cell, box=(left + columns.start, top + rows.start, right + columns.start, bottom + rows.start))


def _search_tiles(
    finder: TileFinder,
    field: Field,
    profile: AppearanceProfile,
    tile_um: float,
    store: TileStore | None,
    show_progress_bar: bool,
) -> FieldCells:
    cells: list[FoundCell] = []
    red_cells: list[Box] = []
    platelets: list[Box] = []
    damage = Damage(field.shape)
    margin = round(_MARGIN_UM / finder.microns)
    tiles = divide(field.shape, round(tile_um / finder.microns), margin)
    if len(tiles) == 1:
        store = None
    progress = tqdm(tiles, unit="tile", leave=False, disable=not show_progress_bar or len(tiles) == 1)
    for tile, pixels in read_tiles(field, progress, margin, damage):
        found = _cells_of_tile(finder, pixels, store)
        in_field = (replace(cell, box=tile.to_field(cell.box)) for cell in found.white_cells)
        cells += [cell for cell in in_field if tile.owns(cell.box)]
        red_cells += filter(tile.owns, map(tile.to_field, found.red_cells))
        platelets += filter(tile.owns, map(tile.to_field, found.platelets))
    cells = without_repeats(cells)
    return FieldCells(
        field.shape,
        tuple(sorted(cells, key=lambda cell: (cell.box[1], cell.box[0]))),
        profile,
        problem=_remark(cells, field.shape, finder.microns),
        red_cells=tuple(red_cells) if finder.search.red_cells else None,
        platelets=tuple(platelets) if finder.search.platelets else None,
        damaged=damage.sentences(),
    )


def _cells_of_tile(finder: TileFinder, pixels: NDArray[np.uint8], store: TileStore | None) -> TileCells:
    if store is None:
        return finder.find(pixels)
    path = store.path_of(pixels, finder.description)
    cells = store.load(path)
    if cells is None:
        cells = finder.find(pixels)
        store.save(cells, path)
    return cells


def _remark(cells: Sequence[FoundCell], shape: tuple[int, int], microns_per_pixel: float) -> str:
    height, width = shape
    if len(cells) == 1 and max(height, width) * microns_per_pixel <= WIDEST_CROP_UM:
        left, top, right, bottom = cells[0].box
        if abs(left + right - width) < width / 3 and abs(top + bottom - height) < height / 3:
            return "It looks like a crop of one cell. Name crops with bc-sam predict."
    return ""
