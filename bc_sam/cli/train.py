"""The command ``train``."""

from pathlib import Path
from typing import Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import (
    TRAINING_PANEL,
    Base,
    Columns,
    ConfigName,
    Data,
    Folds,
    GroupBy,
    GroupPattern,
    KeepPictures,
    LabelMap,
    LogWith,
    Masks,
    Normalize,
    PixelSizes,
    PresetName,
    Protocol,
    Seed,
    Settings,
    Split,
    TrainingPrecision,
    read_arguments,
    read_layout,
    read_pairs,
    read_pixel_sizes,
    with_normalization,
)
from bc_sam.cli.runs import run_experiment


@app.command(rich_help_panel="Training")
def train(
    out: Annotated[Path, typer.Option(help="Run folder; the same command resumes an interrupted run.")],
    data: Data = ["munich=rendered:munich", "barcelona=rendered:barcelona"],  # noqa: B006  typer copies it
    masks: Masks = None,
    label_map: LabelMap = None,
    pixel_sizes: PixelSizes = None,
    group_pattern: GroupPattern = None,
    group_by: GroupBy = None,
    config_name: ConfigName = None,
    split: Split = None,
    columns: Columns = None,
    method: Annotated[
        str,
        typer.Option(
            help="bc-sam, or a comparison method: slca, shape-aware, resnet.", rich_help_panel=TRAINING_PANEL
        ),
    ] = "bc-sam",
    base: Base = None,
    preset_name: PresetName = None,
    protocol: Protocol = None,
    folds: Folds = None,
    seed: Seed = None,
    precision: TrainingPrecision = None,
    normalize: Normalize = True,
    settings: Settings = None,
    log_with: LogWith = None,
    keep_pictures: KeepPictures = False,
    shared: Annotated[
        Path | None,
        typer.Option(help="Folder in which runs on the same data share decoded cells, stage 1 and features."),
    ] = None,
) -> None:
    r"""Trains a model, evaluates it on a held-out fold, and writes a report.

    Stage 1 fine-tunes SAM on annotated masks, stage 2 trains the
    autoencoder, and stage 3 fits the classifiers on its embeddings.
    Without --data it trains on rendered cells of two laboratories.
    For several GPUs: accelerate launch -m bc_sam train ...

    For example:

    bc-sam train --data matek19=AML-Cytomorphology_LMU.zip \
      --data acevedo20=PBC_dataset_normal_DIB \
      --masks pairs.csv --out runs/mine
    """
    from bc_sam.training.experiment import RunConfig

    given = {
        "base": base,
        "protocol": protocol,
        "folds": folds,
        "seed": seed,
        "mixed_precision": precision,
        "keep_pictures": keep_pictures or None,
    }
    config = RunConfig(
        data=tuple(data),
        masks=str(masks) if masks else None,
        label_map=read_pairs(label_map),
        microns_per_pixel=read_pixel_sizes(pixel_sizes),
        group_pattern=group_pattern,
        layout=read_layout(group_by, config_name, split, columns),
        log_with=tuple(log_with or ()),
        shared=str(shared) if shared else None,
        arguments=with_normalization(read_arguments(preset_name, given, settings, method), normalize),
    )
    run_experiment(out, config)
