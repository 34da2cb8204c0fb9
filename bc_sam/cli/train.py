"""Commands that train and measure: train, compare, evaluate, demo."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bc_sam.cli.app import app
from bc_sam.cli.options import (
    Base,
    BatchSize,
    Data,
    Folds,
    FormerLabels,
    GroupPattern,
    LabelMap,
    Labels,
    Masks,
    Model,
    PresetName,
    Protocol,
    Revision,
    Seed,
    Settings,
    TrainingPrecision,
    put_settings,
    read_arguments,
    read_labels,
    read_method,
    read_pairs,
)
from bc_sam.cli.predict import predict
from bc_sam.errors import BCSamError, ConfigError

if TYPE_CHECKING:
    from bc_sam.training.adaptation import AdaptationConfig
    from bc_sam.training.experiment import Experiment, RunConfig


@app.command(rich_help_panel="Training")
def train(
    out: Annotated[Path, typer.Option(help="Run folder; a run of the same options is taken up where it stopped.")],
    data: Data = ["munich=rendered:munich", "barcelona=rendered:barcelona"],  # noqa: B006  typer copies it
    masks: Masks = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
    from_model: Annotated[
        str | None,
        typer.Option("--from", help="Adapt this finished model to one new laboratory: folder or Hub id."),
    ] = None,
    labels_per_class: Annotated[
        int | None, typer.Option(min=0, help="With --from: most labels of each class to learn from; 0 for none.")
    ] = None,
    labels: Labels = None,
    among: FormerLabels = None,
    learn_from: Annotated[
        str | None,
        typer.Option(help="With --from: both fits the classifiers on old and new cells, new on the new ones alone."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out as it was asked for; all else is ignored.")
    ] = False,
    base: Base = None,
    method: Annotated[
        str, typer.Option(help="bc-sam, or a network to compare it with: slca, shape-aware, resnet.")
    ] = "bc-sam",
    preset_name: PresetName = None,
    protocol: Protocol = None,
    folds: Folds = None,
    seed: Seed = None,
    precision: TrainingPrecision = None,
    log_with: Annotated[
        list[str] | None, typer.Option(help="Tracker: tensorboard, wandb, trackio or another of Accelerate's.")
    ] = None,
    keep_pictures: Annotated[
        bool,
        typer.Option(
            "--keep-pictures",
            help="Put small pictures of stored cells into the model, to be shown as similar ones. Whoever gets the "
            "model sees them: not for patients' cells that may not leave your house.",
        ),
    ] = False,
    shared: Annotated[
        Path | None,
        typer.Option(help="Folder for decoded cells, stage 1 and features, which runs on the same data may share."),
    ] = None,
    settings: Settings = None,
) -> None:
    """Trains a model: masks (stage 1), autoencoder (stage 2), classifiers (stage 3); then tests and reports it.

    Example: bc-sam train --data matek19=AML-Cytomorphology_LMU.zip --data acevedo20=PBC_dataset_normal_DIB
    --masks pairs.csv --out runs/mine

    With --from it adapts a finished model to a new laboratory, with labels or without, and says whether it got better:
    bc-sam train --from MODEL --data ours=DIR --group-pattern '^([^_]+)_' --out runs/ours

    With --method it trains a network that BC-SAM is compared with, on the same cells and folds: bc-sam train
    --method slca --set network.image_backbone=microsoft/swinv2-tiny-patch4-window8-256 ...; see bc-sam compare.

    On several processes or GPUs: accelerate launch -m bc_sam train ...
    """
    from bc_sam.training.experiment import RunConfig

    if resume:
        _resume(out)
        return
    allowed = read_labels(labels, among)
    if from_model is not None:
        given = {
            "labels_per_class": labels_per_class,
            "among": allowed,
            "learn_from": learn_from,
            "training.folds": folds,
            "training.seed": seed,
            "training.mixed_precision": precision,
            "training.keep_pictures": keep_pictures or None,
        }
        _adapt(out, from_model, data, masks, label_map, group_pattern, log_with, given, settings)
        return

    if (labels_per_class, allowed, learn_from) != (None, None, None):
        raise ConfigError("--labels-per-class, --labels and --learn-from adapt a finished model: add --from MODEL.")
    given = {
        "base": base,
        "protocol": protocol,
        "folds": folds,
        "seed": seed,
        "mixed_precision": precision,
        "keep_pictures": keep_pictures or None,
    }
    arguments = read_arguments(preset_name or ("tiny" if base == "tiny" else "paper"), given, settings or [], method)
    config = RunConfig(
        data=tuple(data),
        masks=str(masks) if masks else None,
        label_map=read_pairs(label_map),
        group_pattern=group_pattern,
        log_with=tuple(log_with or ()),
        shared=str(shared) if shared else None,
        arguments=arguments,
    )
    _train(out, config)


@app.command(rich_help_panel="Training")
def compare(
    out: Annotated[Path, typer.Option(help="Folder for the runs and the table; what is finished there is kept.")],
    data: Data = ["munich=rendered:munich", "barcelona=rendered:barcelona"],  # noqa: B006  typer copies it
    masks: Masks = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
    method: Annotated[
        list[str], typer.Option(help="Method to put into the table: bc-sam, slca, shape-aware, resnet. Repeatable.")
    ] = ["resnet", "bc-sam", "slca", "shape-aware"],  # noqa: B006  typer copies it
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Also run SLCA and the shape-aware network without their parts.")
    ] = False,
    fraction: Annotated[
        list[float] | None,
        typer.Option(help="Also run SLCA, with and without attention, on this share of the labels. Repeatable."),
    ] = None,
    all_folds: Annotated[bool, typer.Option("--all-folds", help="Measure every fold, not the first alone.")] = False,
    base: Base = None,
    preset_name: PresetName = None,
    protocol: Protocol = None,
    folds: Folds = None,
    seed: Seed = None,
    precision: TrainingPrecision = None,
    settings: Settings = None,
) -> None:
    """Makes one table of all methods on the same cells and folds, with times and trained parameters.

    Each method is a run folder in --out, which predict, evaluate and push take. The table is in comparison.md there,
    and its figures in evaluation.json.

    Example: bc-sam compare --data matek19=DIR --data acevedo20=DIR --masks pairs.csv --base tiny --ablations
    --fraction 0.1 --fraction 0.25 --fraction 0.5 --out runs/table
    """
    from bc_sam.training.comparison_runs import join, planned_runs, render_all_markdown, render_all_text, run_all
    from bc_sam.training.engine.accelerator import processes
    from bc_sam.training.experiment import RunConfig

    given = {"base": base, "protocol": protocol, "folds": folds, "seed": seed, "mixed_precision": precision}
    name = preset_name or ("tiny" if base == "tiny" else "paper")
    runs = planned_runs(
        lambda method: read_arguments(name, given, settings or [], method),
        [read_method(each) for each in method],
        ablations=ablations,
        fractions=fraction or (),
    )
    config = RunConfig(
        data=tuple(data),
        masks=str(masks) if masks else None,
        label_map=read_pairs(label_map),
        group_pattern=group_pattern,
    )
    evaluations = run_all(out, config, runs, all_folds=all_folds)
    if processes().is_main_process:
        join(evaluations).save(out / "evaluation.json")
        (out / "comparison.md").write_text(render_all_markdown(evaluations))
        print(render_all_text(evaluations))
        print(f"Runs and table: {out}")


@app.command(rich_help_panel="Training")
def evaluate(
    model: Model,
    data: Annotated[list[str] | None, Data.__metadata__[0]] = None,
    label_map: LabelMap = None,
    group_pattern: GroupPattern = None,
    labels: Labels = None,
    among: FormerLabels = None,
    revision: Revision = None,
    batch_size: BatchSize = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures as JSON to this file.")] = None,
) -> None:
    """Prints the cross-domain table.

    For a run folder, measures every fold that has not been measured, each with a pass of its own through the three
    stages, and renews the report. With --data, tests the finished model, as it is, on these labelled cells.
    """
    from bc_sam.evaluation.tables import render_text

    allowed = read_labels(labels, among)
    if data:
        from bc_sam.data import load_cells
        from bc_sam.models.auto import load_model
        from bc_sam.models.evaluate import evaluate_model

        loaded = load_model(model, revision=revision)
        if allowed:
            loaded.restrict_labels(allowed)
        datasets = [
            load_cells(spec, label_map=read_pairs(label_map) or None, group_pattern=group_pattern) for spec in data
        ]
        evaluation = evaluate_model(loaded, datasets, batch_size=batch_size)
        print(render_text(evaluation))
    else:
        from bc_sam.training.experiment import Experiment

        if allowed:
            raise ConfigError("--labels is for a finished model on labelled cells: add --data NAME=DIR.")
        experiment = Experiment.open(model)
        pending = [fold for fold in range(experiment.arguments.folds) if not experiment.is_measured(fold)]
        for fold in pending or [0]:
            experiment.run_fold(fold)
            if not experiment.accelerator.is_main_process:
                continue
            evaluation = _report(experiment)
        if not experiment.accelerator.is_main_process:
            return
    if out:
        evaluation.save(out)


@app.command(rich_help_panel="Training")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run, its report and the new cells.")] = Path("demo"),
    serve: Annotated[
        bool, typer.Option("--serve", help="Train nothing; open the page of the Space on this computer.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="With --serve: model folder, run folder or Hub id, instead of the default.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="With --serve: port to listen on; by default a free one.")] = None,
) -> None:
    """Shows it all without data of your own: renders cells of two laboratories, trains, reports, names new ones.

    With --serve it opens a page in the browser instead: drop a cell or a slide, see names, counts and warnings. It
    needs no network. Stop it with Ctrl-C.
    """
    if serve:
        _serve(model, port)
        return
    from bc_sam.training.demo import demo_config, write_new_cells

    _train(out / "run", demo_config())
    cells = out / "new_cells"
    if not cells.exists():
        write_new_cells(cells)
    for laboratory in sorted(path for path in cells.iterdir() if path.name != "masks"):
        print(f"\nNew cells of {laboratory.name}, whose folders tell the class:")
        predict([str(laboratory)], model=str(out / "run"))


def _serve(model: str | None, port: int | None) -> None:
    """Serves the page until it is stopped."""
    if find_spec("gradio") is None:
        raise BCSamError("The page needs Gradio: pip install 'bc_sam[space]'.")
    from bc_sam.space.page import serve
    from bc_sam.space.server.model_source import model_source

    serve(model or model_source(), server_port=port, inbrowser=True)


def _train(out: Path, config: "RunConfig") -> None:
    """Runs the first pass, publishes its model, and reports."""
    from bc_sam.training.experiment import Experiment

    experiment = Experiment.create(out, config)
    if experiment.accelerator.is_main_process:
        print(f"{experiment.survey}\n")
    experiment.run_fold(0)
    if experiment.accelerator.is_main_process:
        _report(experiment)
    experiment.accelerator.end_training()


def _resume(out: Path) -> None:
    """Takes up whatever run a folder holds."""
    if (out / "adaptation.json").exists():
        from bc_sam.training.adaptation import AdaptationConfig

        _run_adaptation(out, AdaptationConfig.load(out / "adaptation.json"))
    else:
        from bc_sam.training.experiment import Experiment

        _train(out, Experiment.open(out).config)


def _adapt(
    out: Path,
    model: str,
    data: list[str],
    masks: Path | None,
    label_map: list[str] | None,
    group_pattern: str | None,
    log_with: list[str] | None,
    given: dict[str, Any],
    settings: list[str] | None,
) -> None:
    from bc_sam.config.arguments import AdaptationArguments
    from bc_sam.training.adaptation import AdaptationConfig

    if len(data) != 1:
        raise ConfigError("A model is adapted to one laboratory at a time: give --data NAME=SOURCE once.")
    known = AdaptationArguments().to_dict()
    asked = [f"{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    arguments = put_settings(known, [*asked, *(settings or [])])
    config = AdaptationConfig(
        model=model,
        data=data[0],
        masks=str(masks) if masks else None,
        label_map=read_pairs(label_map),
        group_pattern=group_pattern,
        log_with=tuple(log_with or ()),
        arguments=AdaptationArguments.from_dict(arguments, where="The command line"),
    )
    _run_adaptation(out, config)


def _run_adaptation(out: Path, config: "AdaptationConfig") -> None:
    from bc_sam.evaluation.tables import render_comparisons
    from bc_sam.training.adaptation import Adaptation

    adaptation = Adaptation.create(out, config)
    if adaptation.accelerator.is_main_process:
        print(f"{adaptation.survey}\n")
    result = adaptation.run()
    adaptation.accelerator.end_training()
    if not adaptation.accelerator.is_main_process:
        return
    print(f"Learned from {result.learned} cells, {result.labelled} of them with a label; {result.masks} hand masks.")
    if result.doubtful:
        print(f"{result.doubtful} masks are probably wrong, and were left out of stage 2: {out / 'doubtful.csv'}")
    if result.comparisons:
        print("\n" + render_comparisons(result.comparisons, adaptation.model.config.default_classifier))
    else:
        print("No held-out cell has a label, so nothing tells whether the new model is better. Label some.")
    if advice := adaptation.advice:
        print(f"\n{advice}")
    print(f"Model:  {out / 'model'}")


def _report(experiment: "Experiment") -> Any:
    from bc_sam.evaluation.tables import render_text
    from bc_sam.training.run_report import write_run_report

    experiment.publish_model()
    evaluation = write_run_report(experiment, ["bc-sam", *sys.argv[1:]])
    print(render_text(evaluation))
    print(f"Model:  {experiment.folder / 'model'}\nReport: {experiment.folder / 'report.html'}")
    return evaluation
