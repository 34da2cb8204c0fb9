"""One page that shows all of a run: what was measured, how sure it is, and pictures to judge it by."""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import PackageLoader, Template
from matplotlib.figure import Figure

from bc_sam.errors import ConfigError
from bc_sam.evaluation.results import ALL, Evaluation, StageTiming, pool_dice
from bc_sam.evaluation.tables import best_classifier, calibration_errors, cross_domain_table, footnotes, shown_metrics
from bc_sam.utils.templates import html_templates

#: The figures that a report has a place for, in the order of its sections.
FIGURES = (
    "cross_domain",
    "confusion",
    "calibration",
    "latents",
    "masks",
    "reconstructions",
    "attention",
    "errors",
    "training",
)


def write_report(
    path: Path | str,
    evaluation: Evaluation,
    figures: Mapping[str, Figure | list[Figure]],
    *,
    title: str,
    facts: Mapping[str, str],
    classifier: str | None = None,
) -> None:
    """Writes one HTML page that needs nothing else: no network, no script, images inside.

    An existing report is replaced in one step, or left as it was if anything fails.

    Args:
        path: The file to write; its folder is made if need be.
        evaluation: What was measured.
        figures: A figure or several under each name of `FIGURES`; a missing one is left out.
        title: Heading of the page.
        facts: What was run, by name, beside the evaluation's environment, such as ``{"base": "tiny"}``. The command
            line under ``"command"`` goes to the section on how to reproduce the run.
        classifier: The classifier of the numbers at the top; the best of the table if not given.

    Raises:
        ConfigError: If there is no place for a figure's name.
        DataError: If nothing was measured.
        OSError: If the file cannot be written.

    Example:
        >>> from bc_sam.evaluation.plots import evaluation_figures
        >>> figures = evaluation_figures(evaluation, best_classifier(evaluation))  # doctest: +SKIP
        >>> write_report("report.html", evaluation, figures, title="BC-SAM", facts={})  # doctest: +SKIP
    """
    unknown = sorted(set(figures) - set(FIGURES))
    if unknown:
        raise ConfigError(f"A report has no place for the figures {unknown}; name them as one of {list(FIGURES)}.")
    page = _template().render(
        title=title,
        evaluation=evaluation,
        facts={name: fact for name, fact in {**evaluation.environment, **facts}.items() if name != "command"},
        command=facts.get("command"),
        headline=_headline(evaluation, classifier or best_classifier(evaluation)),
        tables=[cross_domain_table(evaluation, metric) for metric in shown_metrics(evaluation)],
        footnotes=footnotes(evaluation),
        calibration=calibration_errors(evaluation),
        dice=pool_dice(evaluation.dice),
        timings=_costs(evaluation.timings),
        figures={name: _pictures(figure) for name, figure in figures.items()},
    )
    _replace(Path(path), page)


def _template() -> Template:
    environment = html_templates(PackageLoader("bc_sam.evaluation"))
    environment.filters["duration"] = _duration
    return environment.get_template("report.html")


def _pictures(figures: Figure | list[Figure]) -> list[dict[str, Any]]:
    """Returns each figure as a data URI, with its title and its size in CSS pixels."""
    pictures = []
    for figure in figures if isinstance(figures, list) else [figures]:
        png = io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
        width, height = (round(100 * inches) for inches in figure.get_size_inches())
        uri = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
        name = " ".join(figure.get_suptitle().replace(r"\$", "$").split())
        pictures.append({"uri": uri, "name": name, "width": width, "height": height})
    return pictures


def _headline(evaluation: Evaluation, classifier: str) -> list[tuple[str, str]]:
    """The few numbers that a reader wants first, each with what it is."""
    numbers = []
    pairs = [pair for pair in evaluation.domain_pairs if pair.source != ALL]
    for own, place in ((True, "in the laboratory it was trained on"), (False, "in a laboratory new to it")):
        scores = [
            evaluation.mean_std(classifier, source, target)[0] for source, target in pairs if (source == target) == own
        ]
        if scores:
            numbers.append((f"{100 * np.mean(scores):.1f} %", f"accuracy of {classifier} {place}"))
    return numbers + [
        (f"{dice['mean']:.3f}", f"Dice of the cell masks, {dice['domain']}") for dice in pool_dice(evaluation.dice)
    ]


def _costs(timings: Sequence[StageTiming]) -> list[dict[str, Any]]:
    """Sums each stage over its folds: mean and total seconds, highest memory (MiB)."""
    costs = []
    for stage in dict.fromkeys(timing.stage for timing in timings):
        own = [timing for timing in timings if timing.stage == stage]
        total = sum(timing.seconds for timing in own)
        peak = max(timing.peak_memory_mib for timing in own)
        costs.append({"stage": stage, "folds": len(own), "mean": total / len(own), "total": total, "peak": peak})
    return costs


def _duration(seconds: float) -> str:
    """Writes seconds as people say them, such as ``8.3 s``, ``4 min 05 s`` or ``2 h 10 min``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _replace(path: Path, text: str) -> None:
    """Writes a file in full beside its place, then moves it there, so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
