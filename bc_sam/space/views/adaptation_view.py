"""What the page says of adapting a classifier to a slide."""

from bc_sam.space.views.decision import Choice
from bc_sam.space.views.markup import render
from bc_sam.space.views.slide_adaptation import FEWEST_KINDS, Adaptation, named_by_kind
from bc_sam.space.views.slide_view import NO_CELL, Slide

# A name that more of the counted cells have than this share is common.
_COMMON = 0.1


def render_adaptation(slide: Slide, choice: Choice, rejected: Adaptation | None = None) -> str:
    """Returns how many cells a classifier can learn from, and what came of it if it did, as HTML.

    Args:
        slide: The slide.
        choice: The visitor's choice.
        rejected: An adaptation that has just been made and is not used, since it is worse.
    """
    used = slide.adaptations.get(choice.classifier)
    shown = rejected or used
    cells = slide.named_cells(choice.classifier)
    measured = shown.comparison(choice, slide.labels) if shown else None
    others = [label for label in slide.hand.values() if label not in (*slide.labels, NO_CELL)]
    return render(
        "adaptation.html",
        classifier=choice.classifier,
        used=used,
        n_learned=len(used.cells.labels) if used else 0,
        rejected=rejected,
        measured=measured,
        gain=f"{100 * measured.gain.low:+.0f} to {100 * measured.gain.high:+.0f}" if measured else "",
        named=(named := named_by_kind(cells, slide.labels)),
        unseen=[label for label in _common_names(slide, choice) if label not in named],
        newer=used is not None and len(cells.labels) > len(used.cells.labels),
        missing=cells.n_missing,
        fewest_kinds=FEWEST_KINDS,
        one_kind=not cells.are_enough,
        other=len(others),
        any_first=bool(slide.label_first()),
        model=slide.model,
    )


def _common_names(slide: Slide, choice: Choice) -> list[str]:
    """Returns the names that the classifier gives many of the cells of a slide."""
    named = slide.tally(choice).named
    return [label for label, n in named.most_common() if label in slide.labels and n > _COMMON * named.total()]
