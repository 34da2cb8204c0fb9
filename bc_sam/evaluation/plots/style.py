"""The common style of all figures: colours, sizes, fonts and axes."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bc_sam.errors import DataError

#: The colour-blind-safe palette of Okabe and Ito (2008) without its yellow, which is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", ">", "p", "h", "d")
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++")

INK, MUTED, RULE, EMPTY = "#1f2933", "#667380", "#d5dbe1", "#f0f2f4"
TITLE, BODY, SMALL = 12.0, 9.0, 8.0

#: Inches. A report renders one inch as 100 CSS pixels, so a full-width figure is 900 wide.
WIDTH = 9.0
DPI = 160


def readable(label: str) -> str:
    """Returns a label for display: underscores become spaces, and dollar signs are escaped for matplotlib."""
    return plain(label.replace("_", " "))


def plain(text: str) -> str:
    """Returns text with its dollar signs escaped, so that matplotlib does not parse it as mathematics."""
    return text.replace("$", r"\$")


def new_figure(title: str, height: float) -> Figure:
    """Returns an empty, titled figure of full width and a height in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout, facecolor="white")
    figure.suptitle(wrap(title, 90), x=0.01, ha="left", fontsize=TITLE, fontweight="bold", color=INK)
    return figure


def wrap(text: str, width: int) -> str:
    """Returns text wrapped to a maximum number of characters per line, with dollar signs escaped."""
    return plain("\n".join(textwrap.fill(line, width) for line in text.splitlines()))


def calm(axes: Axes, xlabel: str = "", ylabel: str = "") -> None:
    """Reduces the frame of the axes to a baseline and faint horizontal grid lines."""
    axes.set_xlabel(xlabel, fontsize=SMALL, color=MUTED)
    axes.set_ylabel(ylabel, fontsize=SMALL, color=MUTED)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def check_same_length(**arguments: np.ndarray | Sequence) -> None:
    """Raises a `DataError` unless all arguments have the same non-zero length."""
    lengths = {name: len(argument) for name, argument in arguments.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise DataError(f"All arguments must have the same non-zero length, but have {lengths}.")
