"""Finds the cells of fields that a visitor uploads, within the limits of the page."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, Literal, overload

from PIL import Image

from bc_sam.data.appearance.resolution_tags import read_resolution_tag
from bc_sam.data.decoding_budget import memory_for
from bc_sam.data.fields.recognition import shows_field
from bc_sam.data.fields.sources import WholeField, open_field
from bc_sam.data.fields.survey import measure_window
from bc_sam.data.images import IMAGE_FORMATS, MAX_PIXELS, read_pixels
from bc_sam.data.preparation import sample_evenly
from bc_sam.errors import DataError, ImageError
from bc_sam.models.abstention import Reason, image_reasons
from bc_sam.models.fields import Search, find_cell_at, profile_fields, search_field
from bc_sam.models.found_cells import FieldCells, FoundCell
from bc_sam.models.observation import ObservedCell
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import Upload
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.pictures import SMALL, as_uri, fit, outlined
from bc_sam.space.views.slide_fields import (
    NO_OUTLINE,
    PALE,
    CellPlace,
    SlideField,
    enlarged,
    kept_picture,
    place_of,
)
from bc_sam.space.views.slide_view import Slide, SlideCell

#: What the images of a slide show: one cell each, whole fields, or one of both, which is recognized.
Kind = Literal["recognize", "cells", "fields"]

# An image whose longer side is shorter is no field: at any scale at which cells can be named, it is too narrow.
_LEAST_SIDE = 240

# Images of one size are taken to show the same, so that only so many of them are measured.
_MEASURED = 3

# Cells that are found by their nuclei have at least this score.
_LEAST_SCORE = 0.5

_NOTHING = "Neither white nor red cells were found: the field may be empty, out of focus, or no smear."

_SEARCH = Search(red_cells=True, name=True, keep_observed=True)


class _Sources(Sequence[dict[str, Any]]):
    """Fields as sources for `open_field`, each of which is read when it is asked for."""

    def __init__(self, uploads: Sequence[Upload], max_bytes: int) -> None:
        self._uploads, self._max_bytes = uploads, max_bytes

    def __len__(self) -> int:
        return len(self._uploads)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Sequence[dict[str, Any]]:
        if isinstance(index, slice):
            return _Sources(self._uploads[index], self._max_bytes)
        upload = self._uploads[index]
        return {"bytes": upload.read(max_bytes=self._max_bytes), "path": upload.name}


def find_fields(
    uploads: Sequence[Upload], settings: PageSettings, kind: Kind = "recognize", microns_per_pixel: float | None = None
) -> list[int]:
    """Returns the indices of the uploads that are searched for cells; the others are crops of one cell.

    Args:
        uploads: The images.
        settings: Limits of the page.
        kind: What the visitor says that they show.
        microns_per_pixel: Their pixel size, µm, if known.

    Raises:
        DataError: If there are too many fields.
    """
    found = {
        "cells": lambda: [],
        "fields": lambda: [*range(len(uploads))],
        "recognize": lambda: _recognized(_Sources(uploads, settings.max_field_bytes), settings, microns_per_pixel),
    }[kind]()
    if len(found) > settings.max_fields:
        raise DataError(
            f"{len(found):,} fields are too many: the page accepts {settings.max_fields:,} at once. Drop fewer, or "
            "use the command line: bc-sam count."
        )
    return found


def _recognized(sources: _Sources, settings: PageSettings, microns_per_pixel: float | None) -> list[int]:
    by_size: dict[tuple[int, int], list[int]] = {}
    for index in range(len(sources)):
        try:
            size = _size(sources[index]["bytes"])
        except ImageError:  # reported when it is read as a crop
            continue
        if max(size) >= _LEAST_SIDE:
            by_size.setdefault(size, []).append(index)
    fields: list[int] = []
    for (width, height), members in by_size.items():
        if width * height > settings.max_pixels or _are_fields(
            [sources[members[i]] for i in sample_evenly(len(members), _MEASURED)], (height, width), microns_per_pixel
        ):
            fields += members
    return sorted(fields)


def _are_fields(sample: Sequence[dict[str, Any]], shape: tuple[int, int], microns_per_pixel: float | None) -> bool:
    """Whether most images of a sample show fields."""
    votes = []
    for source in sample:
        try:
            with memory_for(source, max_pixels=MAX_PIXELS):
                found = measure_window(read_pixels(source))
        except ImageError:  # reported when it is read as a crop
            continue
        votes.append(shows_field(found, shape, microns_per_pixel))
    return 2 * sum(votes) > len(votes)


def _size(content: bytes) -> tuple[int, int]:
    """Returns the width and height that a file declares; 0 if that takes more than reading its header."""
    try:
        with Image.open(BytesIO(content), formats=tuple(IMAGE_FORMATS)) as image:
            return image.size
    except Exception:  # Pillow's decoders raise nearly every built-in type on damaged input; it is reported as a crop.
        return 0, 0


def search_fields(
    loaded: LoadedModel,
    uploads: Sequence[Upload],
    settings: PageSettings,
    slide: Slide,
    microns_per_pixel: float | None = None,
) -> Iterator[None]:
    """Adds fields and their cells to a slide.

    Args:
        loaded: The model.
        uploads: The fields, all of one microscope and camera.
        settings: Limits of the page.
        slide: The slide.
        microns_per_pixel: Pixel size of the fields, µm; by default it is measured.

    Yields:
        After each field.

    Raises:
        ConfigError: If the pixel size is not plausible.
    """
    sources = _Sources(uploads, settings.max_field_bytes)
    profile = profile_fields(sources, microns_per_pixel)
    for index, upload in enumerate(uploads):
        if sum(cell.place is not None for cell in slide.cells) > settings.max_cells:
            slide.note += f" Stopped after {settings.max_cells:,} cells. Drop the remaining fields separately."
            return
        try:
            source = sources[index]
            digest = hashlib.sha256(source["bytes"]).hexdigest()
            tag = read_resolution_tag(source)
            with open_field(source) as field:
                assert isinstance(field, WholeField)  # of bytes
                found = search_field(
                    loaded.model,
                    field,
                    _SEARCH,
                    microns_per_pixel=microns_per_pixel,
                    profile=profile,
                    tag=tag,
                    observe=loaded.observe,
                )
                if slide.stopped:
                    return
                _add(slide, upload.name, digest, field, found, settings.max_slide_bytes)
        except ImageError as error:
            slide.cells.append(SlideCell(upload.name, error=error))
        slide.processed += 1
        yield


def _add(slide: Slide, name: str, digest: str, field: WholeField, found: FieldCells, max_bytes: int) -> None:
    index = len(slide.fields)
    microns = found.profile.scale.microns_per_pixel if found.profile else None
    picture = kept_picture(field, microns) if slide.keeps_pictures else b""
    crops = [
        place_of(cell, index, field, microns or 1.0, name=name, number=number)
        for number, cell in enumerate(found.cells, start=1)
    ]
    if slide.n_bytes + len(picture) + sum(len(place.crop) for place in crops) > max_bytes:
        picture, crops = b"", [replace(place, crop=b"") for place in crops]
        slide.unkept += 1
    n_red_cells = None if found.red_cells is None else len(found.red_cells)
    nothing = _NOTHING if not found.problem and n_red_cells == 0 and not found.cells else ""
    problem = " ".join(filter(None, (_for_page(found.problem), nothing, *found.damaged)))
    slide.add_field(SlideField(name, digest, found.shape, found.profile, picture, problem, n_red_cells))
    for number, (cell, place) in enumerate(zip(found.cells, crops, strict=True), start=1):
        slide.add_found(_slide_cell(cell, place, f"{name}, cell {number}", digest))


def _for_page(problem: str) -> str:
    """Returns a problem of a field with the advice for the page instead of the command line."""
    return problem.replace(
        "give --microns-per-pixel", "enter its pixel size below the file field and drop it again"
    ).replace("Name crops with bc-sam predict.", "To name it as one, choose “One cell each” and drop it again.")


def _slide_cell(cell: FoundCell, place: CellPlace, name: str, field_digest: str) -> SlideCell:
    observed = cell.observed
    assert observed is not None
    picture = fit(Image.fromarray(observed.pixels), SMALL)
    left, top, right, bottom = place.box
    return SlideCell(
        name=name,
        thumbnail=as_uri(
            outlined(picture, observed.mask) if cell.outlined and observed.mask is not None else picture, quality=75
        ),
        embedding=observed.embedding,
        probabilities=dict(observed.probabilities),
        ood=observed.ood,
        from_image=_reasons(cell, observed, place),
        digest=f"{field_digest}@{(left + right) // 2},{(top + bottom) // 2}",
        place=place,
    )


def _reasons(cell: FoundCell, observed: ObservedCell, place: CellPlace) -> tuple[Reason, ...]:
    if not cell.outlined:
        return (NO_OUTLINE,)
    pale = (PALE,) if place.added and cell.score < _LEAST_SCORE else ()
    return (*image_reasons(observed), *pale)


def ask_for_cell(loaded: LoadedModel, slide: Slide, index: int, place: tuple[float, float]) -> SlideCell:
    """Asks the model for the cell at a place of a field, and returns it; the slide does not change.

    Args:
        loaded: The model.
        slide: The slide.
        index: Index of the field.
        place: Row and column, pixels of the field.

    Raises:
        DataError: If there is no such place, or the picture of the field is not kept.
    """
    field = slide.fields[index] if 0 <= index < len(slide.fields) else None
    if field is None or not (0 <= place[0] < field.shape[0] and 0 <= place[1] < field.shape[1]):
        raise DataError("This place is not in the field. Click inside the picture.")
    if not field.can_be_asked or field.profile is None or field.microns_per_pixel is None:
        raise DataError(f"No cells can be added to {field.name}: its scale is unknown, or its picture is not kept.")
    loaded.move_to_gpu()
    pixels, factor = field.reduced()
    microns = field.microns_per_pixel / factor
    profile = replace(field.profile, scale=replace(field.profile.scale, microns_per_pixel=microns))
    reduced = WholeField(pixels)
    found = find_cell_at(
        loaded.model, reduced, (place[0] * factor, place[1] * factor), _SEARCH, profile, observe=loaded.observe
    )
    number = 1 + sum(cell.place is not None and cell.place.field == index for cell in slide.cells)
    there = place_of(found, index, reduced, microns, name=field.name, number=number)
    there = replace(enlarged(there, 1 / factor), added=True)
    return _slide_cell(found, there, f"{field.name}, cell {number}", field.digest)
