"""The latent map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bc_sam.evaluation.plots.style import (
    BODY,
    MARKERS,
    MUTED,
    PALETTE,
    RULE,
    SMALL,
    check_same_length,
    new_figure,
    readable,
)


def latent_map(
    points: np.ndarray,
    labels: np.ndarray,
    domains: np.ndarray,
    label_names: Sequence[str],
    domain_names: Sequence[str],
    *,
    method: str = "projection",
) -> Figure:
    """Draws the same projection twice, by class and by laboratory; each group has its own colour and marker.

    Args:
        points: Points (n, 2), such as those from `bc_sam.evaluation.projection.project`.
        labels: Class index (n,) int of each cell, -1 if unknown.
        domains: Domain index (n,) int of each cell.
        label_names: Class names; only those with cells appear in the legend.
        domain_names: Domain names; only those with cells appear in the legend.
        method: Name of the projection, for the title.

    Returns:
        A figure with two axes: by class, by laboratory.

    Raises:
        DataError: If the three arrays differ in length.
    """
    check_same_length(points=points, labels=labels, domains=domains)
    figure = new_figure(f"Latents of {len(points):,} cells, {method}", height=6.2)
    by_class, by_domain = figure.subplots(1, 2)
    _scatter_groups(by_class, points, labels, label_names, "by class")
    _scatter_groups(by_domain, points, domains, domain_names, "by laboratory")
    return figure


def _scatter_groups(axes: Axes, points: np.ndarray, groups: np.ndarray, names: Sequence[str], title: str) -> None:
    """Draws the points of each group, rare groups on top so that common ones do not hide them."""
    size = float(np.clip(12000 / max(len(points), 1), 7, 26))
    unlabelled = groups < 0
    if unlabelled.any():
        axes.scatter(
            points[unlabelled, 0], points[unlabelled, 1], s=size / 2, c="#b8c0c8", linewidths=0, label="unlabelled"
        )
    for index, name in enumerate(names):
        members = points[groups == index]
        if len(members):
            axes.scatter(
                members[:, 0],
                members[:, 1],
                s=size,
                c=PALETTE[index % len(PALETTE)],
                marker=MARKERS[index % len(MARKERS)],
                linewidths=0,
                alpha=0.8,
                zorder=3 - len(members) / len(points),
                label=readable(name),
            )
    axes.set_title(title, loc="left", fontsize=BODY, color=MUTED)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(RULE)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, fontsize=SMALL, frameon=False, markerscale=1.6
    )
