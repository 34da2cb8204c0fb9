"""Escaping of untrusted text for Markdown tables."""

from html import escape

# Inline markup characters as HTML entities, since not every renderer honours backslash escapes.
_MARKDOWN = {ord(mark): f"&#{ord(mark)};" for mark in "\\|`*[]"}


def markdown_cell(text: str) -> str:
    """Returns text that cannot end a table cell or line, nor start a tag, link or code span."""
    return escape(" ".join(text.splitlines()), quote=False).translate(_MARKDOWN)
