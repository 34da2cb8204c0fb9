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
    Device,
    GroupBy,
    GroupPattern,
    LabelMap,
    Labels,
    LocalFilesOnly,
    Model,
    Revision,
    Split,
    Subfolder,
    Token,
    read_labels,
    read_layout,
    read_pairs,
    require_writable,
)
from bc_sam.cli.runs import report_experiment, show_adaptation
from bc_sam.errors import ConfigError

if TYPE_CHECKING:
    from bc_sam.data.reading_options import ReadingOptions
    from bc_sam.evaluation.results import Evaluation
    from bc_sam.models.stored_model import LoadOptions


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
    batch_size: BatchSize = None,
    device: Device = None,
    revision: Revision = None,
    subfolder: Subfolder = None,
    token: Token = None,
    local_files_only: LocalFilesOnly = False,
    out: Annotated[Path | None, typer.Option(help="Also write the results to this JSON file.")] = None,
) -> None:
    """Evaluates a run on its remaining folds, or a model on labelled cells.

    With --data, it evaluates the model as it is on these labelled cells, and
    first lists by class the results of the classifier that answers.

    Without, it trains and evaluates each remaining fold of a run folder, then
    updates the report; of a run of adapt, it shows the results.

    For example:

    bc-sam evaluate runs/mine --data ours=cells/
    """
    from bc_sam.data.reading_options import ReadingOptions

    of_data = {
        "--map": label_map,
        "--group-pattern": group_pattern,
        "--group-by": group_by,
        "--config": config_name,
        "--split": split,
        "--column": columns,
        "--labels": labels,
        "--batch-size": batch_size,
        "--device": device,
        "--revision": revision,
        "--subfolder": subfolder,
        "--token": token,
        "--local-files-only": local_files_only,
    }
    if out:
        require_writable(out, "--out")
    if data:
        options = ReadingOptions(
            None, read_pairs(label_map), group_pattern, **vars(read_layout(group_by, config_name, split, columns))
        )
        download: LoadOptions = {
            "device": device,
            "revision": revision,
            "subfolder": subfolder,
            "token": token,
            "local_files_only": local_files_only,
        }
        evaluation: Evaluation | None = _evaluate_on_cells(
            model, download, data, options, read_labels(labels), batch_size
        )
    elif given := [option for option, value in of_data.items() if value]:
        raise ConfigError(f"{', '.join(given)} applies to a model on labelled cells. Add --data NAME=SOURCE.")
    else:
        evaluation = _show_run(Path(model))
    if out and evaluation:
        evaluation.save(out)


def _evaluate_on_cells(
    source: str,
    options: "LoadOptions",
    data: list[str],
    reading: "ReadingOptions",
    allowed: list[str] | None,
    batch_size: int | None,
) -> "Evaluation":
    """Evaluates a trained model on labelled cells and prints the tables, first those of its default classifier."""
    from bc_sam.data.sources import load_domains
    from bc_sam.evaluation.by_class import render_by_class
    from bc_sam.evaluation.tables import render_text
    from bc_sam.models.auto import load_model
    from bc_sam.models.evaluate import evaluate_model

    model = load_model(source, **options)
    if allowed:
        model.restrict_labels(allowed)
    evaluation = evaluate_model(model, load_domains(data, reading), batch_size=batch_size)
    if model.config.default_classifier in evaluation.classifiers:
        print(f"{render_by_class(evaluation, model.config.default_classifier)}\n")
    print(render_text(evaluation))
    return evaluation


def _show_run(run: Path) -> "Evaluation | None":
    """Completes and reports an experiment, or shows the outcome of an adaptation."""
    from bc_sam.evaluation.results import Evaluation

    if not (run / "adaptation.json").exists():
        return _evaluate_folds(run)
    show_adaptation(run)
    results = run / "evaluation.json"
    return Evaluation.load(results) if results.exists() else None


def _evaluate_folds(run: Path) -> "Evaluation | None":
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
