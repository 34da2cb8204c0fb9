"""The comparison of methods: its runs, and the table of their results."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.network import SAM, Method
from bc_sam.evaluation.costs import total_cost
from bc_sam.evaluation.results import Evaluation
from bc_sam.evaluation.tables import align, render_markdown, render_text
from bc_sam.training.engine.checkpoints import remove_checkpoints
from bc_sam.training.experiment import Experiment, RunConfig
from bc_sam.training.run import IN_USE
from bc_sam.utils.folder_lock import FolderLock
from bc_sam.utils.markdown import markdown_cell
from bc_sam.utils.processes import processes

#: Keys of the environment that differ between methods.
_METHOD_KEYS = ("method", "base", "backbone", "backbone of the mask", "labels shown", "trained parameters")

# Name of the folder in which the runs share decoded cells, stage 1 and features.
_SHARED = "work"


def planned_runs(
    arguments_of: Callable[[Method], TrainingArguments],
    methods: Sequence[Method],
    *,
    ablations: bool = False,
    fractions: Sequence[float] = (),
) -> dict[str, TrainingArguments]:
    """Lists the runs of a comparison.

    Args:
        arguments_of: Returns the settings of a method.
        methods: Methods to compare.
        ablations: Whether to add SLCA without attention, and the shape-aware network without mask, without attention,
            and with SAM's encoder as its image backbone.
        fractions: Fractions of the labels on which to repeat SLCA, with and without attention.

    Returns:
        The settings of each run, by its name in the table.

    Example:
        >>> from bc_sam.config.presets import preset
        >>> list(planned_runs(lambda method: preset("tiny", method), ["slca"], ablations=True, fractions=[0.1]))
        ['slca', 'slca without attention', 'slca, 10% of labels', 'slca without attention, 10% of labels']
    """
    runs: dict[str, TrainingArguments] = {}
    for method in methods:
        base = replace(arguments_of(method), average_turns=False)  # the networks see a cell in one orientation
        network = base.network
        variants = [base]
        if ablations and method == "slca":
            variants.append(replace(base, network=replace(network, ablation="attention")))
        if ablations and method == "shape-aware":
            variants += [
                replace(base, network=replace(network, ablation="mask")),
                replace(base, network=replace(network, ablation="attention")),
                replace(base, network=replace(network, image_backbone=SAM)),
            ]
        if method == "slca":
            variants += [replace(variant, label_fraction=share) for share in fractions for variant in list(variants)]
        runs |= {_name(variant): variant for variant in variants}
    return runs


def _name(arguments: TrainingArguments) -> str:
    method, share = arguments.method, arguments.label_fraction
    name = method if method == "bc-sam" else arguments.network.variant(method)
    return name if share == 1 else f"{name}, {share:.0%} of labels"


def run_all(
    folder: Path, config: RunConfig, runs: Mapping[str, TrainingArguments], *, all_folds: bool
) -> dict[str, Evaluation]:
    """Runs the unfinished runs, each in its own folder; shared intermediate results are computed once.

    Once all are finished, the checkpoints that a kill left in the shared folder are removed, except those of stage 1,
    which further methods may share.

    Args:
        folder: Parent of the run folders.
        config: Data of the runs.
        runs: Settings by name; see `planned_runs`.
        all_folds: Whether to evaluate every fold, or only the first.

    Returns:
        The evaluation of each run.

    Raises:
        BCSamError: If another process writes to the folder.
    """
    state = processes()
    with FolderLock(folder, remedy=IN_USE) if state.is_main_process else nullcontext():
        evaluations = {
            name: _run(folder, name, replace(config, arguments=arguments), all_folds=all_folds)
            for name, arguments in runs.items()
        }
        if state.is_main_process:
            for stage in (folder / _SHARED).glob("*/stage-*"):
                if stage.name != "stage-1":
                    remove_checkpoints(stage)
        return evaluations


def _run(folder: Path, name: str, config: RunConfig, *, all_folds: bool) -> Evaluation:
    """Finishes one of the runs of a comparison."""
    run_folder = folder / re.sub(r"\W+", "-", name)
    with Experiment.create(run_folder, replace(config, shared=str(folder / _SHARED))) as experiment:
        run_all_folds = all_folds or config.arguments.protocol == "leave-one-out"
        for fold in range(experiment.n_folds if run_all_folds else 1):
            experiment.run_fold(fold)
        evaluation = experiment.evaluation()
        if experiment.accelerator.is_main_process:
            experiment.publish_model()
            evaluation.save(run_folder / "evaluation.json")
        experiment.accelerator.end_training()
    return evaluation


def join(evaluations: Mapping[str, Evaluation]) -> Evaluation:
    """Joins the evaluations of runs on the same cells and folds, with one row per method and classifier."""
    first = next(iter(evaluations.values()))
    pairs, timings = [], []
    for name, evaluation in evaluations.items():
        single = len(evaluation.classifiers) == 1
        pairs += [
            replace(pair, classifier=name if single else f"{name} {pair.classifier}") for pair in evaluation.pairs
        ]
        timings += [replace(timing, stage=f"{name}: {timing.stage}") for timing in evaluation.timings]
    environment = {key: value for key, value in first.environment.items() if key not in _METHOD_KEYS}
    return replace(first, pairs=pairs, dice=[], timings=timings, environment=environment)


def costs(evaluations: Mapping[str, Evaluation]) -> list[list[str]]:
    """Returns a header row, and for each run its trained parameters, seconds per fold and peak memory."""
    lines = [["method", "trained parameters", "seconds per fold", "peak memory, MiB"]]
    for name, evaluation in evaluations.items():
        cost = total_cost(evaluation.timings)
        parameters = evaluation.environment.get("trained parameters", "-")
        lines.append([name, parameters, f"{cost.seconds_per_fold:,.0f}", f"{cost.peak_memory_mib:,.0f}"])
    return lines


def render_all_text(evaluations: Mapping[str, Evaluation]) -> str:
    """Returns the tables of a comparison for a terminal."""
    return f"{render_text(join(evaluations))}\n{align(costs(evaluations))}\n"


def render_all_markdown(evaluations: Mapping[str, Evaluation]) -> str:
    """Returns the tables of a comparison as Markdown."""
    heading, *lines = [" | ".join(map(markdown_cell, line)) for line in costs(evaluations)]
    table = "\n".join([f"| {heading} |", "|:--|--:|--:|--:|", *(f"| {line} |" for line in lines)])
    return f"{render_markdown(join(evaluations))}\n{table}\n"
