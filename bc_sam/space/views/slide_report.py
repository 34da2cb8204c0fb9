"""The differential count and the printable report of a slide."""

from dataclasses import dataclass

from bc_sam.config.labels import KINDS_THAT_CAN_OCCUR, kinds_that_can_occur
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.markup import render
from bc_sam.space.views.slide_view import Slide

_SETS = {"five-part": "Five-part differential", "with-blasts": "Five-part and blasts", "all": "All kinds"}


def render_count(slide: Slide, choice: Choice) -> str:
    """Returns the differential count as a table with a chart, in HTML."""
    blasts = [row for row in slide.rows(choice) if row["status"] == "blast"]
    return render("count.html", choice=choice, blasts=blasts, **_counted(slide, choice))


def render_laboratory(slide: Slide | None, choice: Choice) -> str:
    """Returns what is known of the laboratory of a slide, and the buttons to say which kinds can occur, as HTML."""
    if slide is None or not slide.cells:
        return ""
    possible = set(choice.labels or slide.possible or slide.labels)
    sets = [(name, set(kinds_that_can_occur(name, slide.labels))) for name in (*KINDS_THAT_CAN_OCCUR, "all")]
    chosen = next((name for name, kinds in sets if kinds == possible), "") if choice.labels else ""
    return render(
        "laboratory.html",
        unknown=slide.unknown(),
        withheld=slide.withheld(choice),
        sets=[(name, _SETS[name]) for name, _ in sets],
        chosen=chosen,
        labels=choice.labels,
        can_adapt=slide.can_adapt,
        adapted=slide.n_learned(choice),
    )


@dataclass(frozen=True)
class ReportHead:
    """What a person writes on a report.

    Attributes:
        sample: Name or number of the sample.
        date: Its date.
        reader: Who read it.
    """

    sample: str = ""
    date: str = ""
    reader: str = ""


def render_report(slide: Slide, choice: Choice, written: str, head: ReportHead | None = None) -> str:
    """Returns a self-contained HTML report.

    Args:
        slide: The slide.
        choice: How its cells are classified.
        written: The date of the report.
        head: What a person writes on it; left blank to write by hand.
    """
    rows = slide.rows(choice)
    headings = {
        "blast": "Perhaps blasts, not counted before a person has looked",
        "review": "Without a name",
        "check": "Named by the classifier, to be checked",
        "hand": "Named by hand",
        "unreadable": "Unreadable",
        "named": "Named by the classifier",
    }
    sections = [(title, [row for row in rows if row["status"] == status]) for status, title in headings.items()]
    return render(
        "report.html",
        slide=slide,
        choice=choice,
        written=written,
        head=head or ReportHead(),
        sections=sections,
        blasts=[row for row in rows if row["status"] == "blast"],
        **_counted(slide, choice),
    )


def _counted(slide: Slide, choice: Choice) -> dict[str, object]:
    lines, statuses = slide.count(choice), slide.statuses(choice)
    return {
        "lines": lines,
        "processed": sum(statuses.values()),
        "unit": "cell" if slide.fields else "image",
        "total": sum(line.count for line in lines if not line.outside and not line.part_of),
        "by_classifier": statuses["named"] + statuses["check"],
        "statuses": statuses,
        "withheld": slide.withheld(choice),
        "unknown": slide.unknown(),
        "naming": slide.naming_error(choice) is not None,
        "adapted": slide.n_learned(choice),
    }
