"""The command ``adapt``."""

from pathlib import Path
from typing import Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import (
    Columns,
    ConfigName,
    Data,
    Folds,
    GroupBy,
    GroupPattern,
    KeepPictures,
    LabelMap,
    LabelsPerClass,
    LearnFrom,
    LogWith,
    Masks,
    Model,
    PixelSizes,
    Revision,
    Seed,
    Settings,
    Split,
    Subfolder,
    Token,
    TrainingPrecision,
    read_labels,
    read_layout,
    read_pairs,
    read_pixel_sizes,
    read_settings,
    use_token,
)
from bc_sam.cli.runs import run_adaptation
from bc_sam.errors import ConfigError


@app.command(rich_help_panel="Training")
def adapt(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder; the same command resumes an interrupted run.")],
    masks: Masks = None,
    label_map: LabelMap = None,
    pixel_sizes: PixelSizes = None,
    group_pattern: GroupPattern = None,
    group_by: GroupBy = None,
    config_name: ConfigName = None,
    split: Split = None,
    columns: Columns = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated labels that can occur in the new laboratory. The adapted model predicts no others."
        ),
    ] = None,
    labels_per_class: LabelsPerClass = None,
    learn_from: LearnFrom = None,
    folds: Folds = None,
    seed: Seed = None,
    precision: TrainingPrecision = None,
    settings: Settings = None,
    log_with: LogWith = None,
    keep_pictures: KeepPictures = False,
    revision: Revision = None,
    subfolder: Subfolder = None,
    token: Token = None,
) -> None:
    r"""Adapts a model to one new laboratory, with or without labels.

    Whole slides are held out; every classifier is evaluated on them before
    and after, to show whether the adapted model is better. With ten or more
    annotated masks, SAM is fine-tuned too.

    For example:

    bc-sam adapt bc-sam-tiny --data ours=cells/ \
      --group-pattern '^([^_]+)_' --out runs/ours
    """
    from bc_sam.config.arguments import AdaptationArguments
    from bc_sam.training.adaptation import AdaptationConfig

    if len(data) != 1:
        raise ConfigError("A model is adapted to one laboratory at a time: give --data NAME=SOURCE once.")
    given = {
        "labels_per_class": labels_per_class,
        "allowed_labels": read_labels(labels),
        "learn_from": learn_from,
        "training.folds": folds,
        "training.seed": seed,
        "training.mixed_precision": precision,
        "training.keep_pictures": keep_pictures or None,
    }
    config = AdaptationConfig(
        model=model,
        data=data[0],
        revision=revision,
        subfolder=subfolder,
        masks=str(masks) if masks else None,
        label_map=read_pairs(label_map),
        microns_per_pixel=read_pixel_sizes(pixel_sizes),
        group_pattern=group_pattern,
        layout=read_layout(group_by, config_name, split, columns),
        log_with=tuple(log_with or ()),
        arguments=AdaptationArguments().updated(read_settings(given, settings), where="The command line"),
    )
    use_token(token)
    run_adaptation(out, config)
