"""Training curves."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from bc_sam.errors import DataError
from bc_sam.evaluation.plots.style import BODY, INK, PALETTE, SMALL, calm, new_figure, readable


def training_curves(history: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Draws each stage's losses and Dice over the epochs.

    Args:
        history: One record per epoch for each stage. Keys that contain ``loss`` or ``dice`` are drawn against
            ``epoch`` (the position of the record, from 1, if missing); other keys are ignored.

    Returns:
        A figure with one axes per stage and kind of curve.

    Raises:
        DataError: If no stage has a loss or Dice.
    """
    panels = [
        (stage, kind, curves)
        for stage, records in history.items()
        for kind in ("loss", "dice")
        if (curves := sorted({key for record in records for key in record if kind in key.lower()}))
    ]
    if not panels:
        raise DataError("The training history has no loss or Dice to plot. Train for at least one epoch.")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure("Training", height=0.8 + 2.5 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (stage, kind, curves) in zip(grid, panels, strict=False):
        for index, key in enumerate(curves):
            line = {"color": PALETTE[index % len(PALETTE)], "linestyle": ("-", "--", ":", "-.")[index % 4]}
            axes.plot(*_curve(history[stage], key), linewidth=1.6, label=readable(key), **line)
        axes.set_title(f"{readable(stage)}: {kind.replace('dice', 'Dice')}", loc="left", fontsize=BODY, color=INK)
        axes.legend(fontsize=SMALL, frameon=False)
        calm(axes, xlabel="epoch")
    for unused in grid[len(panels) :]:
        unused.remove()
    return figure


def _curve(records: Sequence[Mapping[str, float]], key: str) -> tuple[list[float], list[float]]:
    """Returns the epochs that have a value for `key`, and the values."""
    points = [
        (record.get("epoch", i), record[key]) for i, record in enumerate(records, 1) if record.get(key) is not None
    ]
    return [epoch for epoch, _ in points], [value for _, value in points]
