"""The command ``evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import (
    BatchSize,
    Columns,
    ConfigName,
    Data,
    GroupBy,
    GroupPattern,
    LabelMap,
    Labels,
    Model,
    Revision,
    Split,
    read_labels,
    read_layout,
    read_pairs,
)
from bc_sam.cli.runs import report_experiment
from bc_sam.errors import ConfigError

if TYPE_CHECKING:
    from bc_sam.data.reading_options import ReadingOptions
    from bc_sam.evaluation.results import Evaluation


@app.command(rich_help_panel="Training")
def evaluate(
    model: Model,
    data: Annotated[list[str] | None, Data.__metadata__[0]] = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
    group_by: GroupBy = None,
    config_name: ConfigName = None,
    split: Split = None,
    columns: Columns = None,
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
    from bc_sam.data.reading_options import ReadingOptions

    allowed = read_labels(labels)
    evaluation: Evaluation | None
    if data:
        layout = read_layout(group_by, config_name, split, columns)
        options = ReadingOptions(None, read_pairs(label_map), group_pattern, **vars(layout))
        evaluation = _evaluate_on(model, revision, data, options, allowed, batch_size)
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
    options: "ReadingOptions",
    allowed: list[str] | None,
    batch_size: int | None,
) -> "Evaluation":
    """Evaluates a trained model on labelled cells and prints the table."""
    from bc_sam.data.sources import load_domains
    from bc_sam.evaluation.tables import render_text
    from bc_sam.models.auto import load_model
    from bc_sam.models.evaluate import evaluate_model

    model = load_model(source, revision=revision)
    if allowed:
        model.restrict_labels(allowed)
    evaluation = evaluate_model(model, load_domains(data, options), batch_size=batch_size)
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
