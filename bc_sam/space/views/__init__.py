"""The content of the page, as HTML and JSON."""
