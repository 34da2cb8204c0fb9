"""The command ``train``."""

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
    KeepPictures,
    LabelMap,
    LogWith,
    Masks,
    PresetName,
    Protocol,
    Seed,
    Settings,
    TrainingPrecision,
    announce_new_spelling,
    read_arguments,
    read_pairs,
)
from bc_sam.cli.runs import run_experiment
from bc_sam.errors import ConfigError


@app.command(rich_help_panel="Training")
def train(
    out: Annotated[Path, typer.Option(help="Run folder; the same command resumes an interrupted run.")],
    data: Data = ["munich=rendered:munich", "barcelona=rendered:barcelona"],  # noqa: B006  typer copies it
    masks: Masks = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
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
    settings: Settings = None,
    log_with: LogWith = None,
    keep_pictures: KeepPictures = False,
    shared: Annotated[
        Path | None,
        typer.Option(help="Folder in which runs on the same data share decoded cells, stage 1 and features."),
    ] = None,
    former_from: Annotated[str | None, typer.Option("--from", hidden=True)] = None,
    former_labels_per_class: Annotated[int | None, typer.Option("--labels-per-class", min=0, hidden=True)] = None,
    former_labels: Annotated[str | None, typer.Option("--among", hidden=True)] = None,
    former_learn_from: Annotated[str | None, typer.Option("--learn-from", hidden=True)] = None,
    former_resume: Annotated[bool, typer.Option("--resume", hidden=True)] = False,
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

    if former_resume:
        from bc_sam.cli.resume import resume

        announce_new_spelling("train --resume --out RUN", "resume RUN")
        resume(out)
        return
    if former_from is not None:
        from bc_sam.cli.adapt import adapt

        announce_new_spelling("train --from MODEL", "adapt MODEL")
        adapt(
            former_from,
            data,
            out,
            masks=masks,
            label_map=label_map,
            group_pattern=group_pattern,
            labels=former_labels,
            labels_per_class=former_labels_per_class,
            learn_from=former_learn_from,
            folds=folds,
            seed=seed,
            precision=precision,
            settings=settings,
            log_with=log_with,
            keep_pictures=keep_pictures,
        )
        return
    if (former_labels_per_class, former_labels, former_learn_from) != (None, None, None):
        raise ConfigError("--labels-per-class, --among and --learn-from apply to adaptation. Use bc-sam adapt MODEL.")
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
        group_pattern=group_pattern,
        log_with=tuple(log_with or ()),
        shared=str(shared) if shared else None,
        arguments=read_arguments(preset_name, given, settings, method),
    )
    run_experiment(out, config)
