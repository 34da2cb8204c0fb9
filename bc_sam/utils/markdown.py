"""Text that is safe inside a Markdown table."""

from html import escape

# What is markup within a line of Markdown, as HTML names it: a backslash does not protect it in every renderer.
_MARKDOWN = {ord(mark): f"&#{ord(mark)};" for mark in "\\|`*[]"}


def markdown_cell(text: str) -> str:
    """Returns text that can neither end a table cell or a line nor begin a tag, a link or code."""
    return escape(" ".join(text.splitlines()), quote=False).translate(_MARKDOWN)
