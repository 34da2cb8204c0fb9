"""Jinja environments for HTML (escaped automatically) and Markdown (escaped by a filter)."""

from jinja2 import BaseLoader, Environment, StrictUndefined

from bc_sam.utils.markdown import markdown_cell


def html_templates(loader: BaseLoader) -> Environment:
    """Returns an environment for HTML that escapes every value and rejects undefined names.

    Example:
        >>> from jinja2 import DictLoader
        >>> html_templates(DictLoader({"page": "<b>{{ name }}</b>"})).get_template("page").render(name="<i>")
        '<b>&lt;i&gt;</b>'
    """
    return _environment(loader, autoescape=True)


def markdown_templates(loader: BaseLoader) -> Environment:
    """Returns an environment for Markdown that rejects undefined names; escape untrusted text with ``| cell``.

    Example:
        >>> from jinja2 import DictLoader
        >>> markdown_templates(DictLoader({"card": "| {{ name | cell }} |"})).get_template("card").render(name="a|b")
        '| a&#124;b |'
    """
    environment = _environment(loader, autoescape=False)
    environment.filters["cell"] = markdown_cell
    return environment


def _environment(loader: BaseLoader, *, autoescape: bool) -> Environment:
    return Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
