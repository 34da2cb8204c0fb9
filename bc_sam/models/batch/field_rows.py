"""The rows of a job that counts: one for each field, and one for each white cell that is found in it."""

from collections.abc import Iterable
from typing import Any

from bc_sam.data.blocks.block import BlockCell
from bc_sam.data.blocks.stores import require_readable
from bc_sam.data.fields.sources import SLIDE_SUFFIXES
from bc_sam.errors import ImageError
from bc_sam.models.base import CellModel
from bc_sam.models.batch.rows import CELLS, FIELDS, Rows, result_columns
from bc_sam.models.batch.settings import Job
from bc_sam.models.fields import Search, find_cells
from bc_sam.models.found_cells import FieldCells, FoundCell


def count_fields(model: CellModel, job: Job, fields: Iterable[BlockCell]) -> Rows:
    """Finds and names the white cells of fields, and counts their other cells.

    Args:
        model: The model of the job.
        job: The job.
        fields: The fields of a block.

    Returns:
        The rows by table; see `bc_sam.models.batch.rows.schema`.

    Raises:
        DataError: If a disk fails on which a field lies.
    """
    settings = job.settings
    search = Search(True, settings.platelets, True, settings.classifier, settings.abstain)
    cells: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for field in fields:
        place = {"field": field.cell_id, "source": field.source}
        try:
            found = _search(model, field, search, job)
        except ImageError as error:
            rows.append({**place, "error": str(error)})
            continue
        rows.append({**place, **field_columns(found)})
        cells += [
            {"cell_id": f"{field.cell_id}#{number}", **place, **cell_columns(cell)}
            for number, cell in enumerate(found.cells, start=1)
        ]
    return {CELLS: cells, FIELDS: rows}


def field_columns(found: FieldCells) -> dict[str, Any]:
    """Returns the columns of a field; one that could not be searched has no counts, for the given notes."""
    searched = found.red_cells is not None
    return {
        "white_cells": len(found.cells) if searched else None,
        "red_cells": None if found.red_cells is None else len(found.red_cells),
        "platelets": None if found.platelets is None else len(found.platelets),
        "height": found.shape[0],
        "width": found.shape[1],
        "microns_per_pixel": None if found.profile is None else found.profile.scale.microns_per_pixel,
        "complete": not found.damaged,
        "notes": list(filter(None, (found.problem, *found.damaged))),
    }


def cell_columns(cell: FoundCell) -> dict[str, Any]:
    """Returns the columns of a white cell of a field."""
    assert cell.prediction is not None  # names are asked for
    named = result_columns(cell.prediction)
    return {"box": cell.box, "score": cell.score, "probability": cell.prediction.probability, **named}


def _search(model: CellModel, field: BlockCell, search: Search, job: Job) -> FieldCells:
    if field.error is not None:
        raise ImageError(field.error)
    if field.path is None and field.source.lower().endswith(tuple(SLIDE_SUFFIXES)):
        raise ImageError(f"{field.source} is a scanned slide, which is only read from a disk. Download it first.")
    try:
        return find_cells(
            model, field.image, search, microns_per_pixel=job.settings.microns_per_pixel, profile=job.profile
        )
    except ImageError:
        if field.path is not None:  # the disk itself may have failed, which is no fault of the image
            require_readable(field.path)
        raise
