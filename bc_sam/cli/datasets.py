"""Data set commands: data, render."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import (
    Columns,
    ConfigName,
    GroupBy,
    GroupPattern,
    LabelMap,
    Masks,
    Split,
    read_layout,
    read_pairs,
)

if TYPE_CHECKING:
    from bc_sam.data.copies import ImageCheck

# Most pairs that are listed of one kind.
_MOST_PAIRS = 5


@app.command("data", rich_help_panel="Data sets")
def data_command(
    source: Annotated[str, typer.Argument(metavar="NAME=SOURCE", help="Data set, as for train --data.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for parquet files; if omitted, the data set is only summarized.")
    ] = None,
    masks: Masks = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
    group_by: GroupBy = None,
    config_name: ConfigName = None,
    split: Split = None,
    columns: Columns = None,
) -> None:
    """Summarizes a data set and, with --out, converts it to parquet.

    The scale is estimated from the red cells of up to 60 images, or else
    from their white cells. Images that cannot be read, copies, and copies
    with different labels are named.

    Parquet files are accepted by every command and by the datasets library.

    For example:

    bc-sam data ours=cells/ --map lympho=lymphocyte_typical --out ours/
    """
    from bc_sam.data import load_cells, save_parquet
    from bc_sam.data.copies import check_images
    from bc_sam.data.domain_scales import dataset_scale
    from bc_sam.evaluation.tables import align

    layout = read_layout(group_by, config_name, split, columns)
    dataset = load_cells(
        source, masks=masks, label_map=read_pairs(label_map), group_pattern=group_pattern, **vars(layout)
    )
    names = dataset.features["label"].names
    counts = Counter("unlabelled" if label is None else names[label] for label in dataset["label"])
    print(f"{len(dataset)} images")
    print(indent(align([[name, f"{count}"] for name, count in sorted(counts.items())]), "  "))
    groups = {group for group in dataset["group"] if group is not None}
    print(f"slides or patients: {len(groups) or 'unknown'}")
    print(f"scale: {dataset_scale(dataset)}")
    for warning in _warnings(check_images(dataset)):
        print(f"warning: {warning}")
    if out:
        save_parquet(dataset, out)


def _warnings(found: "ImageCheck") -> Iterator[str]:
    """Yields a sentence for each kind of problem."""
    if n := len(found.unreadable):
        yield f"{n} image{'s' * (n > 1)} cannot be read: {found.unreadable[0]}"
    if n := len(found.contradicting):
        pairs = "1 pair of copies of one image has" if n == 1 else f"{n} pairs of copies of one image have"
        yield f"{pairs} different labels: {_some(found.contradicting)}. Decide which is right, and remove the other."
    if n := len(found.copies) - len(found.contradicting):
        others = [pair for pair in found.copies if pair not in found.contradicting]
        yield f"{n} pair{'s' * (n > 1)} of copies of one image: {_some(others)}. Training keeps copies in one fold."
    if n := len(found.alike):
        pairs = "1 pair of images is" if n == 1 else f"{n} pairs of images are"
        yield f"{pairs} nearly the same: {_some(found.alike)}. If they show one cell, keep one of them."


def _some(pairs: Sequence[str]) -> str:
    more = f", and {len(pairs) - _MOST_PAIRS} more" if len(pairs) > _MOST_PAIRS else ""
    return "; ".join(pairs[:_MOST_PAIRS]) + more


@app.command(rich_help_panel="Data sets")
def render(
    out: Annotated[Path, typer.Argument(help="New folder for the images, their masks and pairs.csv.")],
    laboratory: Annotated[
        list[str],
        typer.Option(
            help="Stain and microscope to imitate: munich, barcelona, tehran, or anywhere for random ones. Repeatable."
        ),
    ] = ["munich", "barcelona"],  # noqa: B006  typer copies it
    cells_per_class: Annotated[int, typer.Option(min=1, help="Cells per class.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the rendering.")] = 0,
) -> None:
    """Renders synthetic cells as image files with exact masks.

    For example:

    bc-sam render cells --laboratory tehran --cells-per-class 5
    """
    from bc_sam.data.datasets.rendered import write_rendered

    print(f"Written: {write_rendered(out, laboratory, cells_per_class=cells_per_class, seed=seed).parents[1]}")
