"""The count of a slide, and the report of it that people print."""

from bc_sam.space.views.decision import Choice
from bc_sam.space.views.markup import render
from bc_sam.space.views.slide_view import Slide


def render_count(slide: Slide, choice: Choice) -> str:
    """Returns the differential count as table and chart, in HTML."""
    return render("count.html", looked_at=len(slide.cells), choice=choice, **_counted(slide, choice))


def render_report(slide: Slide, choice: Choice, written: str) -> str:
    """Returns one page of HTML that needs nothing else.

    Args:
        slide: The slide.
        choice: How its cells are named.
        written: The date.
    """
    rows = slide.rows(choice)
    headings = {
        "review": "Without a name",
        "check": "Named by the classifier, to be checked",
        "hand": "Named by hand",
        "unreadable": "Not readable",
        "named": "Named by the classifier",
    }
    parts = [(title, [row for row in rows if row["status"] == status]) for status, title in headings.items()]
    return render("report.html", slide=slide, choice=choice, written=written, parts=parts, **_counted(slide, choice))


def _counted(slide: Slide, choice: Choice) -> dict[str, object]:
    lines, statuses = slide.count(choice), slide.statuses(choice)
    return {
        "lines": lines,
        "total": sum(line.count for line in lines),
        "by_classifier": statuses["named"] + statuses["check"],
        "widest": max((line.high for line in lines), default=1.0),
        "statuses": statuses,
    }
