"""Pictures of a run. Each function returns a matplotlib figure; none needs a display or touches global state."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke

from bc_sam.errors import DataError
from bc_sam.results import Evaluation

#: Colours of Okabe and Ito (2008), which colour-blind readers can tell apart; their yellow is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", ">", "p", "h", "d")
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++")

INK, MUTED, RULE, EMPTY = "#1f2933", "#667380", "#d5dbe1", "#f0f2f4"
TITLE, BODY, SMALL = 12.0, 9.0, 8.0

#: Inches. A report shows one inch as 100 CSS pixels, so a full-width figure fills 900.
WIDTH = 9.0
DPI = 160


def confusion_matrix(matrix: np.ndarray, labels: Sequence[str], title: str) -> Figure:
    """Draws the counts of a confusion matrix, coloured by their share of the row.

    Cells named right are blue, mistakes orange. Beside each row stand its number of cells and its recall. A zero is
    left blank, and a row without cells is grey.

    Args:
        matrix: Counts (L, L), rows true and columns predicted.
        labels: L class names.
        title: What was trained and tested on what.

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

    figure = _figure(title, height=2.0 + 0.36 * n)
    axes = figure.subplots()
    _colour_matrix(axes, share, cells)
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if share[row, column] > 0.55 else INK
        axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=SMALL, color=colour)
    _label_matrix(axes, labels, cells, recall=share.diagonal())
    return figure


def _colour_matrix(axes: Axes, share: np.ndarray, cells: np.ndarray) -> None:
    """Fills the matrix: the diagonal in blues, the rest in oranges, rows without cells in grey."""
    right = np.eye(len(share), dtype=bool)
    for mask, colours in ((~right, "Blues"), (right, "Oranges")):
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
    for row in range(n):
        colour = INK if cells[row] else MUTED
        axes.get_yticklabels()[row].set_color(colour)
        axes.text(count_at, row, f"{cells[row]}", ha="right", va="center", fontsize=SMALL, color=colour)
        found = f"{recall[row]:.0%}" if cells[row] else "-"
        axes.text(recall_at, row, found, ha="right", va="center", fontsize=SMALL, color=colour)


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
        points: Points (n, 2), such as `bc_sam.projection.project` returns.
        labels: Class index (n,) int of each cell, -1 where it is not known.
        domains: Laboratory index (n,) int of each cell.
        label_names: Class names; only those with cells enter the legend.
        domain_names: Laboratory names; only those with cells enter the legend.
        method: Name of the projection, for the title.

    Returns:
        A figure with two axes: by class, by laboratory.

    Raises:
        DataError: If the three arrays differ in length.
    """
    _check_same_length(points=points, labels=labels, domains=domains)
    figure = _figure(f"Latents of {len(points):,} cells, {method}", height=6.2)
    by_class, by_laboratory = figure.subplots(1, 2)
    _scatter_groups(by_class, points, labels, label_names, "by class")
    _scatter_groups(by_laboratory, points, domains, domain_names, "by laboratory")
    return figure


def _scatter_groups(axes: Axes, points: np.ndarray, groups: np.ndarray, names: Sequence[str], title: str) -> None:
    """Scatters the points of each group, the rare groups on top so that the common ones do not hide them."""
    size = float(np.clip(12000 / max(len(points), 1), 7, 26))
    unlabelled = groups < 0
    if unlabelled.any():
        axes.scatter(
            points[unlabelled, 0], points[unlabelled, 1], s=size / 2, c="#b8c0c8", linewidths=0, label="unlabelled"
        )
    for index, name in enumerate(names):
        chosen = points[groups == index]
        if len(chosen):
            axes.scatter(
                chosen[:, 0],
                chosen[:, 1],
                s=size,
                c=PALETTE[index % len(PALETTE)],
                marker=MARKERS[index % len(MARKERS)],
                linewidths=0,
                alpha=0.8,
                zorder=3 - len(chosen) / len(points),
                label=readable(name),
            )
    axes.set_title(title, loc="left", fontsize=BODY, color=MUTED)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(RULE)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, fontsize=SMALL, frameon=False, markerscale=1.6
    )


def mask_overlays(
    images: np.ndarray,
    predicted: np.ndarray,
    hand: np.ndarray | None,
    titles: Sequence[str],
    *,
    title: str = "Cell masks",
) -> Figure:
    """Draws the outline of each predicted mask (solid) and hand mask (dashed) on its image.

    Args:
        images: Images (n, S, S, 3), uint8 or float 0..1.
        predicted: Predicted masks (n, S, S), bool.
        hand: Hand masks (n, S, S), bool, or ``None`` where there are none.
        titles: A line or two above each image.
        title: Title of the whole.

    Returns:
        A figure with one axes for each image.

    Raises:
        DataError: If there is no image or the arguments differ in length.
    """
    _check_same_length(images=images, predicted=predicted, titles=titles, **({} if hand is None else {"hand": hand}))
    figure, tiles = _tiles(title, titles, columns=4)
    legend = []
    for name, masks, colour, line in (
        ("predicted", predicted, "#ffd400", "-"),
        ("drawn by hand", hand, "white", "--"),
    ):
        if masks is not None:
            for axes, mask in zip(tiles[:, 0], masks, strict=True):
                _outline(axes, mask, colour, line)
            legend.append(Line2D([], [], color=colour, ls=line, linewidth=1.4, path_effects=_halo(), label=name))
    for axes, image in zip(tiles[:, 0], images, strict=True):
        _show(axes, image)
    figure.legend(handles=legend, loc="outside lower left", ncols=2, fontsize=BODY, frameon=False, handlelength=4)
    return figure


def reconstructions(
    targets: np.ndarray, rebuilt: np.ndarray, titles: Sequence[str], *, title: str = "Reconstructions"
) -> Figure:
    """Draws each cell that the autoencoder was to rebuild, and below it what it rebuilt.

    Args:
        targets: Masked cells (n, 128, 128, 3), uint8 or float 0..1.
        rebuilt: The autoencoder's outputs, of the same shape.
        titles: A line or two above each cell.
        title: Title of the whole.

    Returns:
        A figure with two axes for each cell.

    Raises:
        DataError: If there is no cell or the arguments differ in length.
    """
    _check_same_length(targets=targets, rebuilt=rebuilt, titles=titles)
    columns = 6
    figure, tiles = _tiles(title, titles, columns, rows=2)
    for pair, target, output in zip(tiles, targets, rebuilt, strict=True):
        _show(pair[0], target)
        _show(pair[1], output)
    for upper, lower in tiles[::columns]:
        upper.set_ylabel("target", fontsize=SMALL, color=MUTED)
        lower.set_ylabel("rebuilt", fontsize=SMALL, color=MUTED)
    return figure


def cell_gallery(images: Sequence[np.ndarray], titles: Sequence[str], *, title: str = "Cells") -> Figure:
    """Draws cells side by side, such as the mistakes of which the model was most certain.

    Args:
        images: n images (height, width, 3), uint8 or float 0..1; sizes may differ.
        titles: A line or two above each image, such as ``"monocyte → myelocyte, 97 %"``.
        title: Title of the whole.

    Returns:
        A figure with one axes for each image.

    Raises:
        DataError: If there is no image or the arguments differ in length.
    """
    _check_same_length(images=images, titles=titles)
    figure, tiles = _tiles(title, titles, columns=6)
    for axes, image in zip(tiles[:, 0], images, strict=True):
        _show(axes, image)
    return figure


def attention_maps(
    images: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    title: str = "Where the network looks",
) -> Figure:
    """Draws each cell, and below it the same with an attention map over it, each map from its lowest to its highest.

    Args:
        images: n images (height, width, 3), uint8 or float 0..1; sizes may differ.
        maps: n maps (height, width), any real numbers, of the sizes of the images.
        titles: A line or two above each image.
        title: Title of the whole.

    Returns:
        A figure with two axes for each image.

    Raises:
        DataError: If there is no image or the arguments differ in length.
    """
    _check_same_length(images=images, maps=maps, titles=titles)
    columns = 6
    figure, tiles = _tiles(title, titles, columns, rows=2)
    for pair, image, attention in zip(tiles, images, maps, strict=True):
        _show(pair[0], image)
        _show(pair[1], image)
        pair[1].imshow(attention, cmap="inferno", alpha=0.55)
    for upper, lower in tiles[::columns]:
        upper.set_ylabel("cell", fontsize=SMALL, color=MUTED)
        lower.set_ylabel("attention", fontsize=SMALL, color=MUTED)
    return figure


def cross_domain_bars(evaluation: Evaluation, metric: str = "accuracy") -> Figure:
    """Draws one metric as bars: a panel for each training laboratory, in it a group for each one of test.

    Args:
        evaluation: What was measured.
        metric: A metric of `bc_sam.results.PairResult`.

    Returns:
        A figure with one axes for each source. The line on a bar is one standard deviation over the folds, up and
        down; a direction measured in a single fold has none.

    Raises:
        DataError: If nothing was measured.
    """
    if not evaluation.pairs:
        raise DataError("The evaluation holds no results to draw; run at least one fold.")
    panels: dict[str, list[str]] = {}
    for source, target in evaluation.directions:
        panels.setdefault(source, []).append(target)
    figure = _figure(f"{readable(metric).capitalize()}, percent", height=3.7)
    widths = [len(targets) for targets in panels.values()]
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=widths)[0]
    for axes, (source, targets) in zip(grid, panels.items(), strict=True):
        _group_bars(axes, evaluation, metric, source, targets)
    grid[0].set_ylim(0, 100)
    bars, names = grid[0].get_legend_handles_labels()
    figure.legend(bars, names, loc="outside lower left", ncols=6, fontsize=SMALL, frameon=False)
    return figure


def _group_bars(axes: Axes, evaluation: Evaluation, metric: str, source: str, targets: Sequence[str]) -> None:
    """Draws for each target a group of bars, one for each classifier."""
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
            label=_plain(classifier),
        )
    axes.set_title(_plain(f"trained on {source}"), loc="left", fontsize=BODY, color=MUTED)
    axes.set_xticks(range(len(targets)), [_wrap(target, 14) for target in targets])
    _calm(axes, xlabel="tested on")


def reliability_diagram(
    evaluation: Evaluation, classifier: str, directions: Sequence[tuple[str, str]]
) -> Figure | None:
    """Draws how often a classifier is right when it says that it is so sure; on the diagonal it keeps its word.

    Args:
        evaluation: What was measured.
        classifier: The classifier.
        directions: The (source, target) pairs to draw; one without known confidences is left out.

    Returns:
        A figure with one axes for each direction. Above each bar stands its number of cells, and a line leads from
        the share named right to the confidence. ``None`` where no confidence is known.
    """
    known = [(pair, bins) for pair in directions if (bins := evaluation.reliability(classifier, *pair)).any()]
    if not known:
        return None
    columns = 3
    rows = -(-len(known) // columns)
    figure = _figure(f"Is {classifier} right as often as it is sure?", height=0.8 + 3.1 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, ((source, target), bins) in zip(grid, known, strict=False):
        error = evaluation.calibration_error(classifier, source, target)
        title = _wrap(f"{source} → {target}\ncalibration error {error:.3f}", 34)
        axes.set_title(title, loc="left", fontsize=BODY, color=INK)
        _reliability_bars(axes, bins)
    for unused in grid[len(known) :]:
        unused.remove()
    marks, names = grid[0].get_legend_handles_labels()
    figure.legend(marks, names, loc="outside lower left", ncols=2, fontsize=SMALL, frameon=False)
    return figure


def _reliability_bars(axes: Axes, bins: np.ndarray) -> None:
    """Draws a bar for each part of the confidence, and how far the confidence lies from it."""
    full = bins[:, 0] > 0
    cells, confidence, right = bins[full, 0], 100 * bins[full, 1], 100 * bins[full, 2]
    width = 100 / len(bins)
    middles = (np.flatnonzero(full) + 0.5) * width
    axes.bar(middles, right, 0.86 * width, color=PALETTE[5], label="named right")
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle="--")
    axes.vlines(confidence, right, confidence, color=PALETTE[1], linewidth=1.6)
    axes.plot(confidence, confidence, "o", markersize=3.5, color=PALETTE[1], label="confidence")
    for middle, n in zip(middles, cells, strict=True):
        count = f"{n:.0f}" if n < 10_000 else f"{n / 1000:.0f}k"  # five digits would touch their neighbours
        axes.text(middle, 103, count, ha="center", fontsize=SMALL - 2, color=INK)
    axes.set(xlim=(0, 100), ylim=(0, 108), xticks=range(0, 101, 20), yticks=range(0, 101, 20))
    _calm(axes, xlabel="confidence, percent", ylabel="named right, percent")


def training_curves(history: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Draws each stage's losses, and its Dice where it has one, over the epochs.

    Args:
        history: For each stage one record an epoch. Keys with ``loss`` or ``dice`` in them are drawn, ``epoch``
            places the record (its position from 1 does where it is missing), other keys are left alone.

    Returns:
        A figure with one axes for each stage and kind of curve.

    Raises:
        DataError: If no stage has a loss or a Dice.
    """
    panels = [
        (stage, kind, curves)
        for stage, records in history.items()
        for kind in ("loss", "dice")
        if (curves := sorted({key for record in records for key in record if kind in key.lower()}))
    ]
    if not panels:
        raise DataError("The training history holds no loss and no Dice to draw; train at least one epoch.")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure("Training", height=0.8 + 2.5 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (stage, kind, curves) in zip(grid, panels, strict=False):
        for index, key in enumerate(curves):
            line = {"color": PALETTE[index % len(PALETTE)], "linestyle": ("-", "--", ":", "-.")[index % 4]}
            axes.plot(*_curve(history[stage], key), linewidth=1.6, label=readable(key), **line)
        axes.set_title(f"{readable(stage)}: {kind.replace('dice', 'Dice')}", loc="left", fontsize=BODY, color=INK)
        axes.legend(fontsize=SMALL, frameon=False)
        _calm(axes, xlabel="epoch")
    for unused in grid[len(panels) :]:
        unused.remove()
    return figure


def _curve(records: Sequence[Mapping[str, float]], key: str) -> tuple[list[float], list[float]]:
    """Returns the epochs that have a value of ``key``, and the values."""
    known = [
        (record.get("epoch", i), record[key]) for i, record in enumerate(records, 1) if record.get(key) is not None
    ]
    return [epoch for epoch, _ in known], [value for _, value in known]


def differential_count(counts: Mapping[str, int]) -> Figure:
    """Draws how many cells of each class were counted, the most common first.

    Args:
        counts: Cells of each class.

    Returns:
        A figure with one axes; beside each bar its count and its share of all cells.

    Raises:
        DataError: If no cell was counted.
    """
    total = sum(counts.values())
    if total == 0:
        raise DataError("There is no cell to count; give at least one prediction.")
    ordered = sorted(counts.items(), key=lambda item: item[1], reverse=True)
    figure = _figure(f"Differential count of {total:,} cells", height=0.9 + 0.28 * len(ordered))
    axes = figure.subplots()
    bars = axes.barh([readable(name) for name, _ in ordered], [count for _, count in ordered], 0.65, color=PALETTE[0])
    texts = [f"{count:,}   {count / total:.1%}" for _, count in ordered]
    axes.bar_label(bars, texts, padding=6, fontsize=SMALL, color=INK)
    axes.invert_yaxis()
    axes.margins(x=0.16)
    _calm(axes)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.grid(False)
    return figure


def evaluation_figures(evaluation: Evaluation, classifier: str) -> dict[str, list[Figure]]:
    """Draws all that an evaluation alone can show, under the names by which `bc_sam.report.write_report` knows it.

    Args:
        evaluation: What was measured.
        classifier: The classifier whose confusion matrices are drawn, one for each direction.
    """
    matrices = [
        confusion_matrix(
            evaluation.confusion(classifier, source, target),
            evaluation.labels,
            f"{classifier}: trained on {source}, tested on {target}",
        )
        for source, target in evaluation.directions
    ]
    diagram = reliability_diagram(evaluation, classifier, evaluation.directions)
    figures = {"cross_domain": [cross_domain_bars(evaluation)], "confusion": matrices}
    return figures if diagram is None else {**figures, "calibration": [diagram]}


def readable(label: str) -> str:
    """Returns a label as it is shown: spaces for underscores, and a dollar sign that matplotlib takes as such."""
    return _plain(label.replace("_", " "))


def _plain(text: str) -> str:
    return text.replace("$", r"\$")


def _figure(title: str, height: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout, facecolor="white")
    figure.suptitle(_wrap(title, 90), x=0.01, ha="left", fontsize=TITLE, fontweight="bold", color=INK)
    return figure


def _wrap(text: str, width: int) -> str:
    return _plain("\n".join(textwrap.fill(line, width) for line in text.splitlines()))


def _calm(axes: Axes, xlabel: str = "", ylabel: str = "") -> None:
    """Leaves of the frame a baseline and faint horizontal rules."""
    axes.set_xlabel(xlabel, fontsize=SMALL, color=MUTED)
    axes.set_ylabel(ylabel, fontsize=SMALL, color=MUTED)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _tiles(title: str, titles: Sequence[str], columns: int, rows: int = 1) -> tuple[Figure, np.ndarray]:
    """Makes a grid of image tiles under their titles; returns the figure and the axes (tiles, rows of a tile)."""
    bands = -(-len(titles) // columns)
    side = min(WIDTH / columns - 0.1, 2.2)
    characters = int(side * 15)
    lines = max(_wrap(text, characters).count("\n") for text in titles) + 1
    figure = _figure(title, height=0.8 + bands * (rows * side + 0.16 * lines))
    grid = figure.subplots(bands * rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    stacks = grid.reshape(bands, rows, columns).transpose(0, 2, 1).reshape(-1, rows)
    for unused in stacks[len(titles) :].flat:
        unused.remove()
    for axes, text in zip(stacks[:, 0], titles, strict=False):
        axes.set_title(_wrap(text, characters), fontsize=SMALL, color=INK)
    return figure, stacks[: len(titles)]


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image if image.dtype == np.uint8 else np.clip(image, 0, 1))


def _outline(axes: Axes, mask: np.ndarray, colour: str, line: str) -> None:
    """Draws the border of a mask, also where the mask touches the edge of the image; an empty one has none."""
    if mask.any():
        height, width = mask.shape
        places = np.arange(-1, width + 1), np.arange(-1, height + 1)
        border = axes.contour(*places, np.pad(mask, 1), levels=[0.5], colors=colour, linestyles=[line], linewidths=1.4)
        border.set_path_effects(_halo())
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _halo() -> list[AbstractPathEffect]:
    """A dark edge that keeps a light line visible on a light background."""
    return [withStroke(linewidth=2.6, foreground=INK)]


def _check_same_length(**arguments: np.ndarray | Sequence) -> None:
    lengths = {name: len(argument) for name, argument in arguments.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise DataError(f"There must be as many of each, and at least one: {lengths}.")
