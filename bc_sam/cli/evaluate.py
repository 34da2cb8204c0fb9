"""The command ``evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import (
    BatchSize,
    Data,
    GroupPattern,
    LabelMap,
    Labels,
    Model,
    Revision,
    read_labels,
    read_pairs,
)
from bc_sam.cli.runs import report_experiment
from bc_sam.errors import ConfigError

if TYPE_CHECKING:
    from bc_sam.evaluation.results import Evaluation


@app.command(rich_help_panel="Training")
def evaluate(
    model: Model,
    data: Annotated[list[str] | None, Data.__metadata__[0]] = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
    labels: Labels = None,
    revision: Revision = None,
    batch_size: BatchSize = None,
    out: Annotated[Path | None, typer.Option(help="Also write the results to this JSON file.")] = None,
) -> None:
    """Evaluates a run on its remaining folds, or a model on labelled cells.

    Given a run folder, it trains and evaluates each remaining fold, then
    updates the report. With --data, it evaluates the model as it is on these
    labelled cells.

    For example:

    bc-sam evaluate runs/mine --data ours=cells/
    """
    allowed = read_labels(labels)
    evaluation: Evaluation | None
    if data:
        evaluation = _evaluate_on(model, revision, data, label_map, group_pattern, allowed, batch_size)
    else:
        if allowed:
            raise ConfigError("--labels applies to a trained model on labelled cells. Add --data NAME=SOURCE.")
        evaluation = _evaluate_folds(model)
    if out and evaluation:
        evaluation.save(out)


def _evaluate_on(
    source: str,
    revision: str | None,
    data: list[str],
    label_map: list[str] | None,
    group_pattern: str | None,
    allowed: list[str] | None,
    batch_size: int | None,
) -> "Evaluation":
    """Evaluates a trained model on labelled cells and prints the table."""
    from bc_sam.data import load_cells
    from bc_sam.evaluation.tables import render_text
    from bc_sam.models.auto import load_model
    from bc_sam.models.evaluate import evaluate_model

    model = load_model(source, revision=revision)
    if allowed:
        model.restrict_labels(allowed)
    class_of_folder = read_pairs(label_map) or None
    datasets = [load_cells(spec, label_map=class_of_folder, group_pattern=group_pattern) for spec in data]
    evaluation = evaluate_model(model, datasets, batch_size=batch_size)
    print(render_text(evaluation))
    return evaluation


def _evaluate_folds(run: str) -> "Evaluation | None":
    """Runs the remaining folds of a run and reports after each; returns ``None`` outside the main process."""
    from bc_sam.training.experiment import Experiment

    evaluation = None
    with Experiment.open(run) as experiment:
        pending = [fold for fold in range(experiment.n_folds) if not experiment.is_measured(fold)]
        for fold in pending or [0]:
            experiment.run_fold(fold)
            if experiment.is_main_process:
                evaluation = report_experiment(experiment)
    return evaluation
