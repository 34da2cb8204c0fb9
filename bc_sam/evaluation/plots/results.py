"""Figures of the results: confusion matrices, cross-domain bars and reliability diagrams."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bc_sam.errors import DataError
from bc_sam.evaluation.plots.style import (
    BODY,
    EMPTY,
    HATCHES,
    INK,
    MUTED,
    PALETTE,
    SMALL,
    calm,
    new_figure,
    plain,
    readable,
    wrap,
)
from bc_sam.evaluation.results import Evaluation


def evaluation_figures(evaluation: Evaluation, classifier: str) -> dict[str, list[Figure]]:
    """Draws all figures that need only an evaluation, keyed by their names in `write_report`.

    Args:
        evaluation: The results.
        classifier: The classifier whose confusion matrices are drawn, one per pair of domains.
    """
    matrices = [
        confusion_matrix(
            evaluation.confusion(classifier, source, target),
            evaluation.labels,
            f"{classifier}: trained on {source}, tested on {target}",
        )
        for source, target in evaluation.domain_pairs
    ]
    diagram = reliability_diagram(evaluation, classifier, evaluation.domain_pairs)
    figures = {"cross_domain": [cross_domain_bars(evaluation)], "confusion": matrices}
    return figures if diagram is None else {**figures, "calibration": [diagram]}


def confusion_matrix(matrix: np.ndarray, labels: Sequence[str], title: str) -> Figure:
    """Draws the counts of a confusion matrix, coloured by their fraction of the row.

    Correct cells are blue, errors orange. The number of cells and the recall are printed beside each row. Zeros are
    left blank, and rows without cells are grey.

    Args:
        matrix: Counts (k, k), rows true and columns predicted.
        labels: k class names.
        title: Classifier, source and target.

    Returns:
        A figure with one axes.

    Raises:
        DataError: If the matrix is not square or does not match the labels.

    Example:
        >>> figure = confusion_matrix(np.array([[8, 2], [0, 5]]), ["monocyte", "basophil"], "rf, A to B")
        >>> figure.savefig("confusion.png")  # doctest: +SKIP
    """
    matrix = np.asarray(matrix)
    n = len(labels)
    if matrix.shape != (n, n):
        raise DataError(f"{title}: the confusion matrix has shape {matrix.shape}; {n} labels need ({n}, {n}).")
    cells = matrix.sum(axis=1)
    share = matrix / np.maximum(cells, 1)[:, None]

    figure = new_figure(title, height=2.0 + 0.36 * n)
    axes = figure.subplots()
    _colour_matrix(axes, share, cells)
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if share[row, column] > 0.55 else INK
        count = f"{matrix[row, column]}"
        # Within the axes, so to measure it for the layout would only take time.
        axes.text(column, row, count, ha="center", va="center", fontsize=SMALL, color=colour, in_layout=False)
    _label_matrix(axes, labels, cells, recall=share.diagonal())
    return figure


def _colour_matrix(axes: Axes, share: np.ndarray, cells: np.ndarray) -> None:
    """Colours the matrix: the diagonal blue, the rest orange, rows without cells grey."""
    correct = np.eye(len(share), dtype=bool)
    for mask, colours in ((~correct, "Blues"), (correct, "Oranges")):
        axes.imshow(np.ma.masked_array(share, mask | (share == 0)), cmap=colours, vmin=0, vmax=1.1, aspect="auto")
    for row in np.flatnonzero(cells == 0):
        axes.axhspan(row - 0.5, row + 0.5, color=EMPTY)
    edges = np.arange(len(share) + 1) - 0.5
    axes.hlines(edges, -0.5, len(share) - 0.5, color="white", linewidth=1.5)
    axes.vlines(edges, -0.5, len(share) - 0.5, color="white", linewidth=1.5)


def _label_matrix(axes: Axes, labels: Sequence[str], cells: np.ndarray, recall: np.ndarray) -> None:
    """Writes the class names around the matrix, and each row's cells and recall to its right."""
    n = len(labels)
    names = [readable(label) for label in labels]
    axes.set_xticks(range(n), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=SMALL)
    axes.set_yticks(range(n), names, fontsize=SMALL)
    axes.set_xlabel("predicted", fontsize=BODY, color=MUTED)
    axes.set_ylabel("true", fontsize=BODY, color=MUTED)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    count_at, recall_at = n - 0.5 + 0.075 * n, n - 0.5 + 0.16 * n
    for position, heading in ((count_at, "cells"), (recall_at, "recall")):
        axes.text(position, -0.75, heading, ha="right", va="bottom", fontsize=SMALL, color=MUTED)
    for row, name in enumerate(axes.get_yticklabels()):
        colour = INK if cells[row] else MUTED
        name.set_color(colour)
        axes.text(count_at, row, f"{cells[row]}", ha="right", va="center", fontsize=SMALL, color=colour)
        text = f"{recall[row]:.0%}" if cells[row] else "-"
        axes.text(recall_at, row, text, ha="right", va="center", fontsize=SMALL, color=colour)


def cross_domain_bars(evaluation: Evaluation, metric: str = "accuracy") -> Figure:
    """Draws one metric as bars: a panel per source, and in it a group of bars per target.

    Args:
        evaluation: The results.
        metric: A metric of `bc_sam.evaluation.results.PairResult`.

    Returns:
        A figure with one axes per source. Error bars are one standard deviation over the folds; pairs of domains
        with a single fold have none.

    Raises:
        DataError: If the evaluation has no results.
    """
    if not evaluation.pairs:
        raise DataError("The evaluation has no results to plot. Run at least one fold.")
    panels: dict[str, list[str]] = {}
    for source, target in evaluation.domain_pairs:
        panels.setdefault(source, []).append(target)
    figure = new_figure(f"{readable(metric).capitalize()}, percent", height=3.7)
    widths = [len(targets) for targets in panels.values()]
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=widths)[0]
    for axes, (source, targets) in zip(grid, panels.items(), strict=True):
        _group_bars(axes, evaluation, metric, source, targets)
    grid[0].set_ylim(0, 100)
    bars, names = grid[0].get_legend_handles_labels()
    figure.legend(bars, names, loc="outside lower left", ncols=6, fontsize=SMALL, frameon=False)
    return figure


def _group_bars(axes: Axes, evaluation: Evaluation, metric: str, source: str, targets: Sequence[str]) -> None:
    """Draws a group of bars per target, one bar per classifier."""
    width = 0.8 / len(evaluation.classifiers)
    for index, classifier in enumerate(evaluation.classifiers):
        scores = 100 * np.array([evaluation.mean_std(classifier, source, target, metric) for target in targets])
        axes.bar(
            np.arange(len(targets)) - 0.4 + (index + 0.5) * width,
            scores[:, 0],
            width * 0.9,
            yerr=scores[:, 1],
            color=PALETTE[index % len(PALETTE)],
            hatch=HATCHES[index % len(HATCHES)],
            edgecolor=(1, 1, 1, 0.6),
            linewidth=0,
            error_kw={"ecolor": INK, "elinewidth": 0.9},
            label=plain(classifier),
        )
    axes.set_title(plain(f"trained on {source}"), loc="left", fontsize=BODY, color=MUTED)
    axes.set_xticks(range(len(targets)), [wrap(target, 14) for target in targets])
    calm(axes, xlabel="tested on")


def reliability_diagram(
    evaluation: Evaluation, classifier: str, domain_pairs: Sequence[tuple[str, str]]
) -> Figure | None:
    """Draws accuracy against confidence; a perfectly calibrated classifier lies on the diagonal.

    Args:
        evaluation: The results.
        classifier: The classifier.
        domain_pairs: The pairs of domains to draw; those without reliability are omitted.

    Returns:
        A figure with one axes per pair of domains. Each bar is labelled with its number of cells, and a line marks
        the gap between accuracy and confidence. ``None`` if no pair has reliability.
    """
    panels = [(pair, bins) for pair in domain_pairs if (bins := evaluation.reliability(classifier, *pair)).any()]
    if not panels:
        return None
    columns = 3
    rows = -(-len(panels) // columns)
    figure = new_figure(f"Calibration of {classifier}", height=0.8 + 3.1 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, ((source, target), bins) in zip(grid, panels, strict=False):
        error = evaluation.calibration_error(classifier, source, target)
        title = wrap(f"{source} → {target}\ncalibration error {error:.3f}", 34)
        axes.set_title(title, loc="left", fontsize=BODY, color=INK)
        _reliability_bars(axes, bins)
    for unused in grid[len(panels) :]:
        unused.remove()
    marks, names = grid[0].get_legend_handles_labels()
    figure.legend(marks, names, loc="outside lower left", ncols=2, fontsize=SMALL, frameon=False)
    return figure


def _reliability_bars(axes: Axes, bins: np.ndarray) -> None:
    """Draws the accuracy of each non-empty bin as a bar, and its gap to the mean confidence."""
    occupied = bins[:, 0] > 0
    cells, confidence, accuracy = bins[occupied, 0], 100 * bins[occupied, 1], 100 * bins[occupied, 2]
    width = 100 / len(bins)
    centres = (np.flatnonzero(occupied) + 0.5) * width
    axes.bar(centres, accuracy, 0.86 * width, color=PALETTE[5], label="accuracy")
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle="--")
    axes.vlines(confidence, accuracy, confidence, color=PALETTE[1], linewidth=1.6)
    axes.plot(confidence, confidence, "o", markersize=3.5, color=PALETTE[1], label="confidence")
    for centre, n in zip(centres, cells, strict=True):
        count = f"{n:.0f}" if n < 10_000 else f"{n / 1000:.0f}k"  # five digits would overlap the next count
        axes.text(centre, 103, count, ha="center", fontsize=SMALL - 2, color=INK)
    axes.set(xlim=(0, 100), ylim=(0, 108), xticks=range(0, 101, 20), yticks=range(0, 101, 20))
    calm(axes, xlabel="confidence, percent", ylabel="accuracy, percent")
