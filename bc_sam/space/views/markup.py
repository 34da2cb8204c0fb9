"""Results as HTML. Whatever comes from outside is escaped, by the templates' engine and for Gradio's."""

from typing import Any

from jinja2 import Environment, PackageLoader

from bc_sam.classifiers.kinds import KINDS
from bc_sam.space.views.pictures import jpeg_uri
from bc_sam.utils.templates import html_templates


def render(template: str, **values: Any) -> str:
    """Fills a template of the folder ``assets``.

    Gradio runs what it shows through a template engine of its own in the browser; its marks are taken away.
    """
    page = _ENVIRONMENT.get_template(template).render(**values)
    return page.replace("{{", "&#123;&#123;").replace("${", "&#36;{")


def plain(label: str) -> str:
    """Returns a label, or the name of a classifier, as people read it.

    Example:
        >>> plain("smudge_cell"), plain("rf")
        ('Smudge cell', 'Random forest')
    """
    if label in KINDS:
        return KINDS[label].display_name
    words = label.replace("_", " ")
    return words[:1].upper() + words[1:]


def percent(share: float) -> str:
    """Returns a share as percent, never rounded up to certainty or down to nothing.

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
    """Returns a file of the folder ``assets`` as it is."""
    assert _ENVIRONMENT.loader is not None
    return _ENVIRONMENT.loader.get_source(_ENVIRONMENT, name)[0]
