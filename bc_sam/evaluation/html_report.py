"""The self-contained HTML report of a run: metrics, calibration and figures."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import PackageLoader, Template
from matplotlib.figure import Figure

from bc_sam.errors import ConfigError
from bc_sam.evaluation.bootstrap import Comparison, explain_ends
from bc_sam.evaluation.costs import stage_costs
from bc_sam.evaluation.plots import to_png
from bc_sam.evaluation.results import ALL, Evaluation, pool_dice
from bc_sam.evaluation.tables import (
    best_classifier,
    calibration_errors,
    cross_domain_table,
    displayed_metrics,
    footnotes,
)
from bc_sam.utils.atomic import written_aside
from bc_sam.utils.templates import html_templates

#: Names of the figures of a report, in the order of its sections.
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
    comparisons: Sequence[Comparison] | None = None,
) -> None:
    """Writes a self-contained HTML page: no network access, no scripts, embedded images.

    An existing report is replaced atomically, or left unchanged if anything fails.

    Args:
        path: Output file; its folder is created if missing.
        evaluation: The results.
        figures: One or several figures under each name of `FIGURES`; sections without figures are omitted.
        title: Heading of the page.
        facts: Facts about the run in addition to the evaluation's environment, such as ``{"base": "tiny"}``. The
            command line under ``"command"`` goes to the section on reproducing the run.
        classifier: The classifier of the headline; the best one by default.
        comparisons: Each classifier before and after an adaptation, which the report then begins with; empty if no
            held-out cell is labelled, and `classifier` is required then, since the evaluation has no results.

    Raises:
        ConfigError: If the name of a figure is unknown.
        DataError: If the evaluation has no results.
        OSError: If the file cannot be written.

    Example:
        >>> from bc_sam.evaluation.plots import evaluation_figures
        >>> figures = evaluation_figures(evaluation, best_classifier(evaluation))  # doctest: +SKIP
        >>> write_report("report.html", evaluation, figures, title="BC-SAM", facts={})  # doctest: +SKIP
    """
    unknown = sorted(set(figures) - set(FIGURES))
    if unknown:
        raise ConfigError(f"Unknown figures {unknown}; choose from {list(FIGURES)}.")
    chosen = classifier or best_classifier(evaluation)
    measured = bool(evaluation.pairs) or comparisons is None
    page = _template().render(
        title=title,
        evaluation=evaluation,
        facts={name: fact for name, fact in {**evaluation.environment, **facts}.items() if name != "command"},
        command=facts.get("command"),
        headline=_headline(evaluation, chosen, comparisons or ()),
        classifier=chosen,
        comparisons=comparisons,
        comparison=next((each for each in comparisons or () if each.classifier == chosen), None),
        interval_note=explain_ends(one for each in comparisons or () for one in (each.before, each.after, each.gain)),
        tables=[cross_domain_table(evaluation, metric) for metric in displayed_metrics(evaluation)]
        if measured
        else [],
        footnotes=footnotes(evaluation) if measured else [],
        calibration=calibration_errors(evaluation),
        dice=pool_dice(evaluation.dice),
        costs=stage_costs(evaluation.timings),
        figures={name: _embed(figure) for name, figure in figures.items()},
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def _template() -> Template:
    environment = html_templates(PackageLoader("bc_sam.evaluation"))
    environment.filters["duration"] = _duration
    return environment.get_template("report.html")


def _embed(figures: Figure | list[Figure]) -> list[dict[str, Any]]:
    """Returns each figure as a data URI, with its title and its size in CSS pixels."""
    images = []
    for figure in figures if isinstance(figures, list) else [figures]:
        width, height = (round(100 * inches) for inches in figure.get_size_inches())
        uri = "data:image/png;base64," + base64.b64encode(to_png(figure)).decode()
        name = " ".join(figure.get_suptitle().replace(r"\$", "$").split())
        images.append({"uri": uri, "name": name, "width": width, "height": height})
    return images


def _headline(evaluation: Evaluation, classifier: str, comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Returns the key results, each with its description."""
    results = [
        (f"{100 * interval.value:.1f} %", f"balanced accuracy of {classifier} {when} the adaptation")
        for comparison in comparisons
        if comparison.classifier == classifier
        for when, interval in (("before", comparison.before), ("after", comparison.after))
    ]
    pairs = [pair for pair in evaluation.domain_pairs if pair.source != ALL]
    for same, where in ((True, "in the laboratory it was trained on"), (False, "in a laboratory new to it")):
        scores = [
            evaluation.mean_std(classifier, source, target)[0]
            for source, target in pairs
            if (source == target) == same
        ]
        if scores:
            results.append((f"{100 * np.mean(scores):.1f} %", f"accuracy of {classifier} {where}"))
    return results + [
        (f"{dice['mean']:.3f}", f"Dice of the cell masks, {dice['domain']}") for dice in pool_dice(evaluation.dice)
    ]


def _duration(seconds: float) -> str:
    """Formats seconds for humans, such as ``8.3 s``, ``4 min 05 s`` or ``2 h 10 min``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
