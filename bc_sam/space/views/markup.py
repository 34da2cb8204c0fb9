"""Renders results as HTML. External text is escaped for Jinja and for Gradio's own template engine."""

from typing import Any

from jinja2 import Environment, PackageLoader

from bc_sam.classifiers.kinds import KINDS
from bc_sam.config.labels import plain_name
from bc_sam.space.views.pictures import jpeg_uri
from bc_sam.utils.templates import html_templates


def render(template: str, **values: Any) -> str:
    """Renders a template of the folder ``assets``.

    Gradio runs the HTML through its own template engine in the browser, so the delimiters of that engine are escaped.
    """
    page = _ENVIRONMENT.get_template(template).render(**values)
    return page.replace("{{", "&#123;&#123;").replace("${", "&#36;{")


def plain(label: str) -> str:
    """Returns the display name of a label or classifier.

    Example:
        >>> plain("neutrophil_banded"), plain("rf")
        ('Band neutrophil', 'Random forest')
    """
    return KINDS[label].display_name if label in KINDS else plain_name(label)


def percent(share: float) -> str:
    """Returns a share as a percentage that is never rounded to 0 or 100 %.

    Example:
        >>> percent(0.9996), percent(0.004), percent(0.414)
        ('> 99 %', '< 1 %', '41 %')
    """
    if share > 0.995:
        return "> 99 %"
    return "< 1 %" if share < 0.005 else f"{100 * share:.0f} %"


def _environment() -> Environment:
    environment = html_templates(PackageLoader("bc_sam.space", "assets"))
    environment.filters |= {"plain": plain, "percent": percent, "jpeg_uri": jpeg_uri}
    return environment


_ENVIRONMENT = _environment()


def asset(name: str) -> str:
    """Returns the text of a file of the folder ``assets``."""
    assert _ENVIRONMENT.loader is not None
    return _ENVIRONMENT.loader.get_source(_ENVIRONMENT, name)[0]
