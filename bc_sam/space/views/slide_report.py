"""The differential count and the printable report of a slide."""

from bc_sam.space.views.decision import Choice
from bc_sam.space.views.markup import render
from bc_sam.space.views.slide_view import Slide


def render_count(slide: Slide, choice: Choice) -> str:
    """Returns the differential count as a table with a chart, in HTML."""
    return render("count.html", processed=len(slide.cells), choice=choice, **_counted(slide, choice))


def render_report(slide: Slide, choice: Choice, written: str) -> str:
    """Returns a self-contained HTML report.

    Args:
        slide: The slide.
        choice: How its cells are classified.
        written: The date of the report.
    """
    rows = slide.rows(choice)
    headings = {
        "review": "Without a name",
        "check": "Named by the classifier, to be checked",
        "hand": "Named by hand",
        "unreadable": "Unreadable",
        "named": "Named by the classifier",
    }
    sections = [(title, [row for row in rows if row["status"] == status]) for status, title in headings.items()]
    return render(
        "report.html", slide=slide, choice=choice, written=written, sections=sections, **_counted(slide, choice)
    )


def _counted(slide: Slide, choice: Choice) -> dict[str, object]:
    lines, statuses = slide.count(choice), slide.statuses(choice)
    return {
        "lines": lines,
        "total": sum(line.count for line in lines),
        "by_classifier": statuses["named"] + statuses["check"],
        "widest": max((line.high for line in lines), default=1.0),
        "statuses": statuses,
    }
