"""The comparison of methods: which runs it takes, and the table of their measurements."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.network import SAM, Method
from bc_sam.evaluation.results import Evaluation
from bc_sam.evaluation.tables import align, render_markdown, render_text
from bc_sam.training.experiment import Experiment, RunConfig
from bc_sam.utils.markdown import markdown_cell

#: Parts of the environment that differ between methods.
_OWN = ("method", "base", "backbone", "backbone of the mask", "labels shown", "trained parameters")


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
        whole = arguments_of(method)
        network = whole.network
        variants = [whole]
        if ablations and method == "slca":
            variants.append(replace(whole, network=replace(network, ablation="attention")))
        if ablations and method == "shape-aware":
            variants += [
                replace(whole, network=replace(network, ablation="mask")),
                replace(whole, network=replace(network, ablation="attention")),
                replace(whole, network=replace(network, image_backbone=SAM)),
            ]
        if method == "slca":
            variants += [replace(one, label_fraction=share) for share in fractions for one in list(variants)]
        runs |= {_name(one): one for one in variants}
    return runs


def _name(arguments: TrainingArguments) -> str:
    method, share = arguments.method, arguments.label_fraction
    name = method if method == "bc-sam" else arguments.network.variant(method)
    return name if share == 1 else f"{name}, {share:.0%} of labels"


def run_all(
    folder: Path, config: RunConfig, runs: Mapping[str, TrainingArguments], *, all_folds: bool
) -> dict[str, Evaluation]:
    """Carries out the runs that are not finished, each in its own folder; what they have in common is computed once.

    Args:
        folder: Where the run folders go.
        config: Data of the runs.
        runs: What `planned_runs` returned.
        all_folds: Whether to evaluate on every fold, or on the first only.

    Returns:
        The measurements of each run.
    """
    evaluations = {}
    for name, arguments in runs.items():
        own = folder / re.sub(r"\W+", "-", name)
        shared = str(folder / "work")
        experiment = Experiment.create(own, replace(config, shared=shared, arguments=arguments))
        every = all_folds or arguments.protocol == "leave-one-out"
        for fold in range(experiment.n_folds if every else 1):
            experiment.run_fold(fold)
        evaluations[name] = experiment.evaluation()
        if experiment.accelerator.is_main_process:
            experiment.publish_model()
            evaluations[name].save(own / "evaluation.json")
        experiment.accelerator.end_training()
    return evaluations


def join(evaluations: Mapping[str, Evaluation]) -> Evaluation:
    """Joins the measurements of runs on the same cells and folds; each classifier of a method has its own row."""
    first = next(iter(evaluations.values()))
    pairs, timings = [], []
    for name, one in evaluations.items():
        single = one.classifiers == [name] or len(one.classifiers) == 1
        pairs += [replace(pair, classifier=name if single else f"{name} {pair.classifier}") for pair in one.pairs]
        timings += [replace(timing, stage=f"{name}: {timing.stage}") for timing in one.timings]
    environment = {key: value for key, value in first.environment.items() if key not in _OWN}
    return replace(first, pairs=pairs, dice=[], timings=timings, environment=environment)


def costs(evaluations: Mapping[str, Evaluation]) -> list[list[str]]:
    """Returns a heading, and for each run its trained parameters, seconds per fold and peak memory."""
    lines = [["method", "trained parameters", "seconds a fold", "peak memory, MiB"]]
    for name, one in evaluations.items():
        folds = len({timing.fold for timing in one.timings})
        seconds = sum(timing.seconds for timing in one.timings) / max(folds, 1)
        peak = max((timing.peak_memory_mib for timing in one.timings), default=0.0)
        lines.append([name, one.environment.get("trained parameters", "-"), f"{seconds:,.0f}", f"{peak:,.0f}"])
    return lines


def render_all_text(evaluations: Mapping[str, Evaluation]) -> str:
    """Returns the tables of a comparison for a terminal."""
    return f"{render_text(join(evaluations))}\n{align(costs(evaluations))}\n"


def render_all_markdown(evaluations: Mapping[str, Evaluation]) -> str:
    """Returns the tables of a comparison as Markdown."""
    heading, *lines = [" | ".join(map(markdown_cell, line)) for line in costs(evaluations)]
    table = "\n".join([f"| {heading} |", "|:--|--:|--:|--:|", *(f"| {line} |" for line in lines)])
    return f"{render_markdown(join(evaluations))}\n{table}\n"
