"""What the page says and shows of the fields of a slide."""

from typing import Any

from bc_sam.space.views.slide_fields import NO_OUTLINE, PALE
from bc_sam.space.views.slide_view import Slide

# Number of fields whose problems the notice lists; all are shown with the fields.
_LISTED = 3


def fields_value(slide: Slide, shown: int | None = None, **more: Any) -> dict[str, Any]:
    """Returns the value of the component that shows one field at a time, without the pictures of the others.

    Args:
        slide: The slide.
        shown: Index of the field that is shown; by default the first that has cells.
        **more: `focus`, the index of the cell to focus; `said`, a sentence on what was done.
    """
    if not slide.fields:
        return {}
    if shown is None:
        shown = min((cell.place.field for cell in slide.cells if cell.place is not None), default=0)
    shown = min(max(shown, 0), len(slide.fields) - 1)
    field = slide.fields[shown]
    return {
        "fields": [{"name": one.name, "problem": one.problem, "red_cells": one.n_red_cells} for one in slide.fields],
        "shown": shown,
        "picture": field.shown(),
        "shape": field.shape,
        "shapes": slide.shapes(shown),
        "can_add": field.can_be_asked,
        **more,
    }


def describe_work(slide: Slide) -> str:
    """Returns what was done with the images of a slide, in sentences."""
    parts = [f"{slide.processed:,} of {slide.expected:,} images processed.", slide.taken, slide.note.strip()]
    problems = [f"{field.name}: {field.problem}" for field in slide.fields if field.problem]
    parts += problems[:_LISTED]
    if len(problems) > _LISTED:
        parts.append(f"{len(problems) - _LISTED} more fields have remarks, shown with them.")
    if slide.unkept:
        parts.append(
            f"The pictures and crops of {slide.unkept} field{'s' if slide.unkept > 1 else ''} are not kept, since "
            "those of the others fill the memory of a slide. Drop fewer at once to look at them."
        )
    return " ".join(filter(None, parts))


def describe_added(slide: Slide, index: int, *, is_new: bool) -> str:
    """Returns what came of a person's pointing at a place, in a sentence.

    Args:
        slide: The slide.
        index: Index of the cell at the place.
        is_new: Whether it was added; otherwise it was there already.
    """
    cell = slide.cells[index]
    if not is_new:
        return f"{cell.name} is at this place already."
    remarks = [reason.text for reason in cell.from_image if reason in (NO_OUTLINE, PALE)]
    return " ".join([f"{cell.name} was added.", *remarks])
