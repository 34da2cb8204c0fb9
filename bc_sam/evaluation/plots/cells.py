"""Grids of cells: with mask outlines, with reconstructions, and with attention maps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke

from bc_sam.evaluation.plots.style import BODY, INK, MUTED, SMALL, WIDTH, check_same_length, new_figure, wrap


def mask_overlays(
    images: np.ndarray,
    predicted: np.ndarray,
    annotated: np.ndarray | None,
    titles: Sequence[str],
    *,
    title: str = "Cell masks",
) -> Figure:
    """Draws the outline of each predicted mask (solid) and annotated mask (dashed) on its image.

    Args:
        images: Images (n, S, S, 3), uint8 or float 0..1.
        predicted: Predicted masks (n, S, S), bool.
        annotated: Annotated masks (n, S, S), bool; ``None`` draws the predicted ones only.
        titles: Title of each image, one or two lines.
        title: Title of the figure.

    Returns:
        A figure with one axes per image.

    Raises:
        DataError: If there is no image or the arguments differ in length.
    """
    optional = {} if annotated is None else {"annotated": annotated}
    check_same_length(images=images, predicted=predicted, titles=titles, **optional)
    figure, tiles = _tiles(title, titles, columns=4)
    legend = []
    for name, masks, colour, line in (
        ("predicted", predicted, "#ffd400", "-"),
        ("annotated", annotated, "white", "--"),
    ):
        if masks is not None:
            for axes, mask in zip(tiles[:, 0], masks, strict=True):
                _outline(axes, mask, colour, line)
            legend.append(Line2D([], [], color=colour, ls=line, linewidth=1.4, path_effects=_halo(), label=name))
    for axes, image in zip(tiles[:, 0], images, strict=True):
        _show(axes, image)
    figure.legend(handles=legend, loc="outside lower left", ncols=2, fontsize=BODY, frameon=False, handlelength=4)
    return figure


def reconstructions(targets: np.ndarray, reconstructed: np.ndarray, titles: Sequence[str]) -> Figure:
    """Draws each reconstruction target above the autoencoder's reconstruction.

    Args:
        targets: Masked cells (n, 128, 128, 3), uint8 or float 0..1.
        reconstructed: The autoencoder's outputs, of the same shape.
        titles: Title of each cell, one or two lines.

    Returns:
        A figure with two axes per cell.

    Raises:
        DataError: If there is no cell or the arguments differ in length.
    """
    check_same_length(targets=targets, reconstructed=reconstructed, titles=titles)
    figure, _ = _stacks("Reconstructions", titles, ("target", targets), ("reconstructed", reconstructed))
    return figure


def cell_gallery(images: Sequence[np.ndarray], titles: Sequence[str], *, title: str = "Cells") -> Figure:
    """Draws cells side by side, such as the model's most confident errors.

    Args:
        images: n images (height, width, 3), uint8 or float 0..1; sizes may differ.
        titles: Title of each image, one or two lines, such as ``"monocyte → myelocyte, 97 %"``.
        title: Title of the figure.

    Returns:
        A figure with one axes per image.

    Raises:
        DataError: If there is no image or the arguments differ in length.
    """
    check_same_length(images=images, titles=titles)
    figure, tiles = _tiles(title, titles, columns=6)
    for axes, image in zip(tiles[:, 0], images, strict=True):
        _show(axes, image)
    return figure


def attention_maps(
    images: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    title: str = "Attention maps",
) -> Figure:
    """Draws each cell above the same cell overlaid with its attention map; the colours span each map's own range.

    Args:
        images: n images (height, width, 3), uint8 or float 0..1; sizes may differ.
        maps: n maps (height, width), float, each of the size of its image.
        titles: Title of each image, one or two lines.
        title: Title of the figure.

    Returns:
        A figure with two axes per image.

    Raises:
        DataError: If there is no image or the arguments differ in length.
    """
    check_same_length(images=images, maps=maps, titles=titles)
    figure, tiles = _stacks(title, titles, ("cell", images), ("attention", images))
    for axes, attention in zip(tiles[:, 1], maps, strict=True):
        axes.imshow(attention, cmap="inferno", alpha=0.55)
    return figure


def _tiles(title: str, titles: Sequence[str], columns: int, rows: int = 1) -> tuple[Figure, np.ndarray]:
    """Creates a grid of titled image tiles; returns the figure and the axes (tiles, rows per tile)."""
    bands = -(-len(titles) // columns)
    side = min(WIDTH / columns - 0.1, 2.2)
    characters = int(side * 15)
    lines = max(wrap(text, characters).count("\n") for text in titles) + 1
    figure = new_figure(title, height=0.8 + bands * (rows * side + 0.16 * lines))
    grid = figure.subplots(bands * rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    stacks = grid.reshape(bands, rows, columns).transpose(0, 2, 1).reshape(-1, rows)
    for unused in stacks[len(titles) :].flat:
        unused.remove()
    for axes, text in zip(stacks[:, 0], titles, strict=False):
        axes.set_title(wrap(text, characters), fontsize=SMALL, color=INK)
    return figure, stacks[: len(titles)]


def _stacks(
    title: str, titles: Sequence[str], *rows: tuple[str, Sequence[np.ndarray] | np.ndarray]
) -> tuple[Figure, np.ndarray]:
    """Draws tiles of several labelled rows of images; returns the figure and the axes (tiles, rows)."""
    columns = 6
    figure, tiles = _tiles(title, titles, columns, rows=len(rows))
    for row, (name, images) in enumerate(rows):
        for axes, image in zip(tiles[:, row], images, strict=True):
            _show(axes, image)
        for axes in tiles[::columns, row]:
            axes.set_ylabel(name, fontsize=SMALL, color=MUTED)
    return figure, tiles


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image if image.dtype == np.uint8 else np.clip(image, 0, 1))


def _outline(axes: Axes, mask: np.ndarray, colour: str, line: str) -> None:
    """Draws the outline of a mask, including where it touches the image border; empty masks have none."""
    if mask.any():
        height, width = mask.shape
        grid = np.arange(-1, width + 1), np.arange(-1, height + 1)
        outline = axes.contour(*grid, np.pad(mask, 1), levels=[0.5], colors=colour, linestyles=[line], linewidths=1.4)
        outline.set_path_effects(_halo())
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _halo() -> list[AbstractPathEffect]:
    """Returns a dark stroke that keeps a light line visible on a light background."""
    return [withStroke(linewidth=2.6, foreground=INK)]
