"""The command ``compare``."""

from pathlib import Path
from typing import Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import (
    TRAINING_PANEL,
    Base,
    Data,
    Folds,
    GroupPattern,
    LabelMap,
    Masks,
    Normalize,
    PixelSizes,
    PresetName,
    Protocol,
    Seed,
    Settings,
    TrainingPrecision,
    read_arguments,
    read_method,
    read_pairs,
    read_pixel_sizes,
    with_normalization,
)


@app.command(rich_help_panel="Training")
def compare(
    out: Annotated[Path, typer.Option(help="Folder for the runs and the table; finished runs in it are kept.")],
    data: Data = ["munich=rendered:munich", "barcelona=rendered:barcelona"],  # noqa: B006  typer copies it
    masks: Masks = None,
    label_map: LabelMap = None,
    pixel_sizes: PixelSizes = None,
    group_pattern: GroupPattern = None,
    method: Annotated[
        list[str],
        typer.Option(
            help="Method to compare: bc-sam, slca, shape-aware or resnet. Repeatable.", rich_help_panel=TRAINING_PANEL
        ),
    ] = ["resnet", "bc-sam", "slca", "shape-aware"],  # noqa: B006  typer copies it
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Also run the ablations of SLCA and of the shape-aware network.")
    ] = False,
    fraction: Annotated[
        list[float] | None,
        typer.Option(help="Also run SLCA, with and without attention, on this fraction of the labels. Repeatable."),
    ] = None,
    all_folds: Annotated[
        bool, typer.Option("--all-folds", help="Evaluate on every fold, not only on the first.")
    ] = False,
    base: Base = None,
    preset_name: PresetName = None,
    protocol: Protocol = None,
    folds: Folds = None,
    seed: Seed = None,
    precision: TrainingPrecision = None,
    normalize: Normalize = True,
    settings: Settings = None,
) -> None:
    r"""Compares methods on the same cells and folds, in one table.

    The table lists accuracy, training time and number of trained parameters.
    It is written to comparison.md in --out, the raw results to
    evaluation.json. Each method also gets a run folder there, which
    predict, evaluate and push accept.

    For example:

    bc-sam compare --data matek19=DIR --data acevedo20=DIR \
      --masks pairs.csv --base tiny --ablations --out runs/table
    """
    from bc_sam.training.comparison_runs import join, planned_runs, render_all_markdown, render_all_text, run_all
    from bc_sam.training.experiment import RunConfig
    from bc_sam.utils.atomic import written_aside
    from bc_sam.utils.processes import processes

    given = {"base": base, "protocol": protocol, "folds": folds, "seed": seed, "mixed_precision": precision}
    runs = planned_runs(
        lambda method: with_normalization(read_arguments(preset_name, given, settings, method), normalize),
        [read_method(each) for each in method],
        ablations=ablations,
        fractions=fraction or (),
    )
    config = RunConfig(
        data=tuple(data),
        masks=str(masks) if masks else None,
        label_map=read_pairs(label_map),
        microns_per_pixel=read_pixel_sizes(pixel_sizes),
        group_pattern=group_pattern,
    )
    evaluations = run_all(out, config, runs, all_folds=all_folds)
    if processes().is_main_process:
        join(evaluations).save(out / "evaluation.json")
        with written_aside(out / "comparison.md") as part:
            part.write_text(render_all_markdown(evaluations), encoding="utf-8")
        print(render_all_text(evaluations))
        print(f"Runs and table: {out}")
