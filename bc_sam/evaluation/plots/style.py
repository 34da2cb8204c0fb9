"""What all figures look like: colours, sizes, type, calm axes."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bc_sam.errors import DataError

#: Colours of Okabe and Ito (2008), which colour-blind readers can tell apart; their yellow is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", ">", "p", "h", "d")
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++")

INK, MUTED, RULE, EMPTY = "#1f2933", "#667380", "#d5dbe1", "#f0f2f4"
TITLE, BODY, SMALL = 12.0, 9.0, 8.0

#: Inches. A report shows one inch as 100 CSS pixels, so a full-width figure fills 900.
WIDTH = 9.0
DPI = 160


def readable(label: str) -> str:
    """Returns a label as it is shown: spaces for underscores, and a dollar sign that matplotlib takes as such."""
    return plain(label.replace("_", " "))


def plain(text: str) -> str:
    """Returns text of which matplotlib takes no dollar sign for mathematics."""
    return text.replace("$", r"\$")


def new_figure(title: str, height: float) -> Figure:
    """Returns an empty figure of the full width, so many inches high, under its title."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout, facecolor="white")
    figure.suptitle(wrap(title, 90), x=0.01, ha="left", fontsize=TITLE, fontweight="bold", color=INK)
    return figure


def wrap(text: str, width: int) -> str:
    """Returns text in lines of at most so many characters."""
    return plain("\n".join(textwrap.fill(line, width) for line in text.splitlines()))


def calm(axes: Axes, xlabel: str = "", ylabel: str = "") -> None:
    """Leaves of the frame a baseline and faint horizontal rules."""
    axes.set_xlabel(xlabel, fontsize=SMALL, color=MUTED)
    axes.set_ylabel(ylabel, fontsize=SMALL, color=MUTED)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def check_same_length(**arguments: np.ndarray | Sequence) -> None:
    """Raises a `DataError` unless there are as many of each, and at least one."""
    lengths = {name: len(argument) for name, argument in arguments.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise DataError(f"There must be as many of each, and at least one: {lengths}.")
