"""The cross-domain table: every classifier in every direction, for a terminal, a model card or a web page."""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bc_sam.errors import ConfigError, DataError
from bc_sam.evaluation.bootstrap import Comparison
from bc_sam.evaluation.results import ALL, DomainPair, Evaluation
from bc_sam.utils.markdown import markdown_cell

#: The metrics of `bc_sam.evaluation.results.PairResult`, with the heading of each.
METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "common_accuracy": "Accuracy on the classes that the source has",
    "restricted": "Balanced accuracy, restricted to the classes that occur",
}

#: Those that every rendering shows.
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1")
# Wider than any table: rich would otherwise cut columns to fit the terminal, or to 80 characters where there is none.
_ANY_WIDTH = 10_000

PROTOCOLS = {
    "strict": "Protocol strict: the tested fold is in no stage of the training.",
    "adapted": "Adapted to the laboratory, and tested on slides of it that nothing learned from.",
    "leave-one-out": "Protocol leave-one-out: the tested laboratory is in no stage of the training.",
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
        domain_pairs: The pairs of domains of the columns.
        rows: One for each classifier.
    """

    metric: str
    title: str
    domain_pairs: tuple[DomainPair, ...]
    rows: tuple[Row, ...]

    @property
    def sources(self) -> list[tuple[str, int]]:
        """Each source with the number of neighbouring columns that it heads."""
        return [(source, len(list(group))) for source, group in groupby(source for source, _ in self.domain_pairs)]

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
    pairs = tuple(evaluation.domain_pairs)
    single = [source != ALL for source, _ in pairs]
    rows = []
    for classifier in evaluation.classifiers:
        scores = tuple(Score(*evaluation.mean_std(classifier, *pair, metric)) for pair in pairs)
        averaged = [score.mean for score, alone in zip(scores, single, strict=True) if alone or not any(single)]
        rows.append(Row(classifier, scores, Score(float(np.mean(averaged)))))
    return CrossDomainTable(metric, METRICS[metric], pairs, tuple(rows))


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
    for source, target in evaluation.domain_pairs:
        errors = [evaluation.calibration_error(name, source, target) for name in evaluation.classifiers]
        if not all(map(math.isnan, errors)):
            table.append((source, target, ["-" if math.isnan(error) else f"{error:.3f}" for error in errors]))
    return table


def shown_metrics(evaluation: Evaluation) -> tuple[str, ...]:
    """Returns the metrics that tables show: with laboratories left out, also the one restricted to what occurs."""
    return (*SHOWN, "restricted") if evaluation.protocol == "leave-one-out" else SHOWN


def footnotes(evaluation: Evaluation) -> list[str]:
    """Returns what a reader of the table must know: protocol, folds, seed, mean, and the classes a source lacks."""
    notes = [PROTOCOLS.get(evaluation.protocol, f"Protocol {evaluation.protocol}."), _folds_note(evaluation)]
    notes.append("Balanced accuracy and macro F1 are means over the classes that the test cells have.")
    if len({source == ALL for source, _ in evaluation.domain_pairs}) == 2:
        notes.append(f"The mean is over the directions with one source; '{ALL}' is training on every domain together.")
    for source, target, kinds in evaluation.merged():
        notes.append(f"{source} → {target}: {kinds}, since one side does not tell them apart.")
    for source, target, classes in evaluation.missing():
        notes.append(f"{source} → {target}: {source} has no {', '.join(classes)}; such cells count as wrong.")
    return notes


def _folds_note(evaluation: Evaluation) -> str:
    folds = sorted({pair.fold for pair in evaluation.pairs})
    if evaluation.protocol == "leave-one-out":
        return f"Percent; {len(folds)} of {evaluation.n_folds} laboratories left out; seed {evaluation.seed}."
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
    for table in (cross_domain_table(evaluation, metric) for metric in shown_metrics(evaluation)):
        lines = [
            ["train on", *(source for source, _ in table.domain_pairs), ""],
            ["test on", *(target for _, target in table.domain_pairs), "mean"],
            *(row.cells for row in table.rows),
        ]
        blocks.append(f"{table.title}, %\n{align(lines)}")
    if errors := calibration_errors(evaluation):
        lines = [["direction", *evaluation.classifiers], *([f"{a} → {b}", *texts] for a, b, texts in errors)]
        blocks.append(f"Calibration error: mean distance of confidence from accuracy, 0 to 1\n{align(lines)}")
    notes = "\n".join(footnotes(evaluation))
    return "\n\n".join([*blocks, notes]) + "\n"


def align(lines: Sequence[Sequence[str]]) -> str:
    """Lays lines of cells out in columns: the first aligned left, the others, which are numbers, right.

    The result is plain text of whatever width it takes, so that it can be written to a file or piped.

    Args:
        lines: Equally long lines of cells.

    Example:
        >>> print(align([["", "cells"], ["basophil", "3"]]))
                  cells
        basophil      3
    """
    table = Table.grid(padding=(0, 2))
    for index in range(len(lines[0])):
        table.add_column(justify="right" if index else "left", no_wrap=True)
    for line in lines:
        table.add_row(*map(Text, line))
    console = Console(file=io.StringIO(), width=_ANY_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def render_markdown(evaluation: Evaluation) -> str:
    """Returns the cross-domain table for a model card: a Markdown table for each metric, and the footnotes.

    Args:
        evaluation: What was measured.

    Raises:
        DataError: If nothing was measured.
    """
    blocks = []
    for table in (cross_domain_table(evaluation, metric) for metric in shown_metrics(evaluation)):
        heads = ["classifier", *(f"{source} → {target}" for source, target in table.domain_pairs), "mean"]
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
    """Returns the comparison of each classifier before and after, and the recalls and verdict of the default one.

    Args:
        comparisons: One for each classifier.
        default: Name of the classifier that the model uses unless told otherwise.
    """
    shown = next(c for c in comparisons if c.classifier == default)
    scores = align(
        [
            ["", "before", "after", "gain"],
            *([c.classifier, str(c.before), str(c.after), str(c.gain)] for c in comparisons),
        ]
    )
    recalls = align(
        [
            ["", "cells", "before", "after"],
            *([name, f"{n}", f"{100 * a:.1f}", f"{100 * b:.1f}"] for name, (n, a, b) in shown.per_class.items()),
        ]
    )
    return (
        f"Balanced accuracy on {shown.cells} held-out cells of {shown.slides} slides, % (95 % confidence interval)\n"
        f"{scores}\n\n{default}: recall, %\n{recalls}\n\n{default}: {shown.verdict}"
    )
