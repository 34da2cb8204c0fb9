"""Figures as PNG files. Rendering takes longer than plotting, so a figure of several files is rendered once."""

import io
from weakref import WeakKeyDictionary

from matplotlib.figure import Figure

_RENDERED: WeakKeyDictionary[Figure, bytes] = WeakKeyDictionary()


def to_png(figure: Figure) -> bytes:
    """Renders a finished figure; later calls return the same bytes, whatever has been drawn since.

    Args:
        figure: A figure to which nothing will be added.

    Returns:
        The PNG file, which is the same for the same figure on any day: it names no software and no date.

    Example:
        >>> to_png(Figure(figsize=(1, 1)))[1:4]
        b'PNG'
    """
    if figure not in _RENDERED:
        png = io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
        _RENDERED[figure] = png.getvalue()
    return _RENDERED[figure]
