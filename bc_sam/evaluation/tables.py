"""The cross-domain table: every classifier in every direction, for a terminal, a model card or a web page."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from bc_sam.errors import ConfigError, DataError
from bc_sam.evaluation.comparison import Comparison
from bc_sam.evaluation.results import Evaluation
from bc_sam.utils.markdown import markdown_cell

#: The metrics of `bc_sam.evaluation.results.PairResult`, with the heading of each.
METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "common_accuracy": "Accuracy on the classes that the source has",
}

#: Those that every rendering shows.
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1")

#: The source that stands for every domain together.
ALL = "all"


PROTOCOLS = {
    "strict": "Protocol strict: the tested fold is in no stage of the training.",
    "adapted": "Adapted to the laboratory, and tested on slides of it that nothing learned from.",
    "paper": "Protocol paper: stages 1 and 2 saw every image without its label, those of the tested fold too.",
}


@dataclass(frozen=True)
class Score:
    """Mean and standard deviation of a metric over the folds, 0..1; NaN where there is none."""

    mean: float
    std: float = math.nan

    def __str__(self) -> str:
        return f"{self.percent} {self.spread}".rstrip()

    @property
    def percent(self) -> str:
        """The mean in percent; a dash where there is none."""
        return "-" if math.isnan(self.mean) else f"{100 * self.mean:.1f}"

    @property
    def spread(self) -> str:
        """The standard deviation in percent after a plus-minus sign; empty for a single fold, which has none."""
        return "" if math.isnan(self.std) else f"± {100 * self.std:.1f}"


@dataclass(frozen=True)
class Row:
    """One classifier's line: a score for each direction, and the mean over the directions."""

    classifier: str
    scores: tuple[Score, ...]
    mean: Score

    @property
    def cells(self) -> list[str]:
        """The line as text, from the classifier to the mean."""
        return [self.classifier, *map(str, self.scores), str(self.mean)]


@dataclass(frozen=True)
class CrossDomainTable:
    """One metric of every classifier in every direction.

    Attributes:
        metric: Attribute of `bc_sam.evaluation.results.PairResult`.
        title: Its heading.
        directions: The (source, target) pairs of the columns.
        rows: One for each classifier.
    """

    metric: str
    title: str
    directions: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]

    @property
    def sources(self) -> list[tuple[str, int]]:
        """Each source with the number of neighbouring columns that it heads."""
        return [(source, len(list(group))) for source, group in groupby(source for source, _ in self.directions)]

    @property
    def best(self) -> list[float]:
        """The highest mean of each column, the last of them over the directions; NaN for an empty column."""
        columns = zip(*([*row.scores, row.mean] for row in self.rows), strict=True)
        return [max((s.mean for s in scores if not math.isnan(s.mean)), default=math.nan) for scores in columns]


def cross_domain_table(evaluation: Evaluation, metric: str = "accuracy") -> CrossDomainTable:
    """Lays out one metric: a row for each classifier, a column for each direction.

    The last column is the mean over the directions that have one source, as in Table 1 of BC-SAM; training on all
    domains together stands apart, unless there is nothing else. A classifier that lacks a direction has no mean.

    Args:
        evaluation: What was measured.
        metric: A metric of `bc_sam.evaluation.results.PairResult`.

    Raises:
        DataError: If nothing was measured.
        ConfigError: If there is no such metric.

    Example:
        >>> from bc_sam.evaluation.results import PairResult
        >>> pair = PairResult("rf", "A", "B", 0, 80, 20, 0.5, 0.5, 0.5, 0.5, [[10, 0], [10, 0]])
        >>> table = cross_domain_table(Evaluation("strict", ["x", "y"], ["A", "B"], 1234, 5, [pair]))
        >>> str(table.rows[0].scores[0])
        '50.0'
    """
    if metric not in METRICS:
        raise ConfigError(f"There is no metric {metric!r}; choose one of {list(METRICS)}.")
    if not evaluation.pairs:
        raise DataError("The evaluation holds no results; run at least one fold.")
    directions = tuple(evaluation.directions)
    single = [source != ALL for source, _ in directions]
    rows = []
    for classifier in evaluation.classifiers:
        scores = tuple(Score(*evaluation.mean_std(classifier, *direction, metric)) for direction in directions)
        averaged = [score.mean for score, alone in zip(scores, single, strict=True) if alone or not any(single)]
        rows.append(Row(classifier, scores, Score(float(np.mean(averaged)))))
    return CrossDomainTable(metric, METRICS[metric], directions, tuple(rows))


def best_classifier(evaluation: Evaluation) -> str:
    """Returns the classifier with the highest mean accuracy over the directions.

    Args:
        evaluation: What was measured.

    Raises:
        DataError: If nothing was measured.
    """
    rows = cross_domain_table(evaluation).rows
    return max(rows, key=lambda row: -1.0 if math.isnan(row.mean.mean) else row.mean.mean).classifier


def calibration_errors(evaluation: Evaluation) -> list[tuple[str, str, list[str]]]:
    """Returns source, target and the calibration error of each classifier, for the directions where one is known."""
    table = []
    for source, target in evaluation.directions:
        errors = [evaluation.calibration_error(name, source, target) for name in evaluation.classifiers]
        if not all(map(math.isnan, errors)):
            table.append((source, target, ["-" if math.isnan(error) else f"{error:.3f}" for error in errors]))
    return table


def footnotes(evaluation: Evaluation) -> list[str]:
    """Returns what a reader of the table must know: protocol, folds, seed, mean, and the classes a source lacks."""
    notes = [PROTOCOLS.get(evaluation.protocol, f"Protocol {evaluation.protocol}."), _folds_note(evaluation)]
    notes.append("Balanced accuracy and macro F1 are means over the classes that the test cells have.")
    if len({source == ALL for source, _ in evaluation.directions}) == 2:
        notes.append(f"The mean is over the directions with one source; '{ALL}' is training on every domain together.")
    for source, target, classes in evaluation.missing():
        notes.append(f"{source} → {target}: {source} has no {', '.join(classes)}; such cells count as wrong.")
    return notes


def _folds_note(evaluation: Evaluation) -> str:
    folds = sorted({pair.fold for pair in evaluation.pairs})
    measured = f"{len(folds)} of {evaluation.n_folds} folds"
    if len(folds) == 1:
        return f"Percent; n = 1 fold ({measured} measured), so without a spread; seed {evaluation.seed}."
    return f"Percent, mean ± standard deviation over {measured}; seed {evaluation.seed}."


def render_text(evaluation: Evaluation) -> str:
    """Returns the cross-domain table for a terminal: aligned blocks of the metrics and calibration, and the footnotes.

    Args:
        evaluation: What was measured.

    Raises:
        DataError: If nothing was measured.
    """
    blocks = []
    for table in (cross_domain_table(evaluation, metric) for metric in SHOWN):
        lines = [
            ["train on", *(source for source, _ in table.directions), ""],
            ["test on", *(target for _, target in table.directions), "mean"],
            *(row.cells for row in table.rows),
        ]
        blocks.append(f"{table.title}, %\n{align(lines)}")
    if errors := calibration_errors(evaluation):
        lines = [["direction", *evaluation.classifiers], *([f"{a} → {b}", *texts] for a, b, texts in errors)]
        blocks.append(f"Calibration error: mean distance of confidence from accuracy, 0 to 1\n{align(lines)}")
    notes = "\n".join(footnotes(evaluation))
    return "\n\n".join([*blocks, notes]) + "\n"


def align(lines: Sequence[Sequence[str]]) -> str:
    """Pads the cells of each column to one width: the first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def render_markdown(evaluation: Evaluation) -> str:
    """Returns the cross-domain table for a model card: a Markdown table for each metric, and the footnotes.

    Args:
        evaluation: What was measured.

    Raises:
        DataError: If nothing was measured.
    """
    blocks = []
    for table in (cross_domain_table(evaluation, metric) for metric in SHOWN):
        heads = ["classifier", *(f"{source} → {target}" for source, target in table.directions), "mean"]
        lines = [
            _markdown_line(heads),
            "|:--|" + "--:|" * (len(heads) - 1),
            *(_markdown_line(row.cells) for row in table.rows),
        ]
        blocks.append(f"**{table.title}, %**\n\n" + "\n".join(lines))
    notes = "\n".join(f"- {markdown_cell(note)}" for note in footnotes(evaluation))
    return "\n\n".join([*blocks, notes]) + "\n"


def _markdown_line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(markdown_cell, cells)) + " |"


def render_comparisons(comparisons: Sequence[Comparison], default: str) -> str:
    """Returns the before/after table for a terminal, and what may be said of the default classifier."""
    shown = next(c for c in comparisons if c.classifier == default)
    lines = [
        f"Balanced accuracy on {shown.cells} cells of {shown.slides} slides that were held out, % (95 % interval)",
        f"{'':<10}  {'before':>22}  {'after':>22}  {'gain':>22}",
        *(f"{c.classifier:<10}  {c.before!s:>22}  {c.after!s:>22}  {c.gain!s:>22}" for c in comparisons),
        "",
        f"{default}: named right, %",
        f"{'':<22}  {'cells':>5}  {'before':>6}  {'after':>6}",
        *(f"{name:<22}  {n:>5}  {100 * a:>6.1f}  {100 * b:>6.1f}" for name, (n, a, b) in shown.per_class.items()),
        "",
        f"{default}: {shown.verdict}",
    ]
    return "\n".join(lines)
