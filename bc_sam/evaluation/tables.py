"""The cross-domain table: every classifier on every pair of domains, for the terminal, model cards and web pages."""

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
from bc_sam.evaluation.bootstrap import Comparison, explain_ends
from bc_sam.evaluation.results import ALL, DomainPair, Evaluation
from bc_sam.utils.display import printable
from bc_sam.utils.markdown import markdown_cell

#: The metrics of `bc_sam.evaluation.results.PairResult` and their headings.
METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "common_accuracy": "Accuracy on the classes present in the source",
    "restricted": "Balanced accuracy, restricted to the classes that occur",
}

#: The metrics under every protocol.
MAIN_METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
# Wider than any table: rich would otherwise truncate columns to the terminal, or to 80 characters without one.
_ANY_WIDTH = 10_000

PROTOCOLS = {
    "strict": "Protocol strict: the test fold takes part in no stage of the training.",
    "adapted": "Adapted to the laboratory and tested on held-out slides of it.",
    "leave-one-out": "Protocol leave-one-out: the test laboratory takes part in no stage of the training.",
    "paper": "Protocol paper: stages 1 and 2 see every image without its label, including the test fold.",
}


@dataclass(frozen=True)
class Score:
    """Mean and standard deviation of a metric over the folds, 0..1; NaN if undefined."""

    mean: float
    std: float = math.nan

    def __str__(self) -> str:
        return f"{self.percent} {self.spread}".rstrip()

    @property
    def percent(self) -> str:
        """The mean in percent; a dash if undefined."""
        return "-" if math.isnan(self.mean) else f"{100 * self.mean:.1f}"

    @property
    def spread(self) -> str:
        """The standard deviation in percent after a plus-minus sign; empty for a single fold."""
        return "" if math.isnan(self.std) else f"± {100 * self.std:.1f}"


@dataclass(frozen=True)
class Row:
    """One classifier's row: a score per pair of domains, and the mean over the pairs."""

    classifier: str
    scores: tuple[Score, ...]
    mean: Score

    @property
    def cells(self) -> list[str]:
        """The cells of the row as text, from the classifier to the mean."""
        return [self.classifier, *map(str, self.scores), str(self.mean)]


@dataclass(frozen=True)
class CrossDomainTable:
    """One metric of every classifier on every pair of domains.

    Attributes:
        metric: Attribute of `bc_sam.evaluation.results.PairResult`.
        title: Heading of the table.
        domain_pairs: The pair of domains of each column.
        rows: One row per classifier.
    """

    metric: str
    title: str
    domain_pairs: tuple[DomainPair, ...]
    rows: tuple[Row, ...]

    @property
    def sources(self) -> list[tuple[str, int]]:
        """Each source with the number of adjacent columns under it."""
        return [(source, len(list(group))) for source, group in groupby(source for source, _ in self.domain_pairs)]

    @property
    def best(self) -> list[float]:
        """The highest score of each column, including the column of means; NaN for an empty column."""
        columns = zip(*([*row.scores, row.mean] for row in self.rows), strict=True)
        return [max((s.mean for s in scores if not math.isnan(s.mean)), default=math.nan) for scores in columns]


def cross_domain_table(evaluation: Evaluation, metric: str = "accuracy") -> CrossDomainTable:
    """Tabulates one metric: a row per classifier, a column per pair of domains.

    The last column is the mean over the pairs with a single source, as in Table 1 of BC-SAM; training on all domains
    together is excluded from it, unless there is nothing else. A classifier with a missing pair has no mean.

    Args:
        evaluation: The results.
        metric: A metric of `bc_sam.evaluation.results.PairResult`.

    Raises:
        DataError: If the evaluation has no results.
        ConfigError: If the metric is unknown.

    Example:
        >>> from bc_sam.evaluation.results import PairResult
        >>> pair = PairResult("rf", "A", "B", 0, 80, 20, 0.5, 0.5, 0.5, 0.5, [[10, 0], [10, 0]])
        >>> table = cross_domain_table(Evaluation("strict", ["x", "y"], ["A", "B"], 1234, 5, [pair]))
        >>> str(table.rows[0].scores[0])
        '50.0'
    """
    if metric not in METRICS:
        raise ConfigError(f"Unknown metric {metric!r}; choose one of {list(METRICS)}.")
    if not evaluation.pairs:
        raise DataError("The evaluation has no results. Run at least one fold.")
    pairs = tuple(evaluation.domain_pairs)
    single = [source != ALL for source, _ in pairs]
    rows = []
    for classifier in evaluation.classifiers:
        scores = tuple(Score(*evaluation.mean_std(classifier, *pair, metric)) for pair in pairs)
        means = [score.mean for score, included in zip(scores, single, strict=True) if included or not any(single)]
        rows.append(Row(classifier, scores, Score(float(np.mean(means)))))
    return CrossDomainTable(metric, METRICS[metric], pairs, tuple(rows))


def best_classifier(evaluation: Evaluation) -> str:
    """Returns the classifier with the highest mean accuracy over the pairs of domains.

    Args:
        evaluation: The results.

    Raises:
        DataError: If the evaluation has no results.
    """
    rows = cross_domain_table(evaluation).rows
    return max(rows, key=lambda row: -1.0 if math.isnan(row.mean.mean) else row.mean.mean).classifier


def calibration_errors(evaluation: Evaluation) -> list[tuple[str, str, list[str]]]:
    """Returns source, target and each classifier's calibration error, for the pairs of domains that have any."""
    table = []
    for source, target in evaluation.domain_pairs:
        errors = [evaluation.calibration_error(name, source, target) for name in evaluation.classifiers]
        if not all(map(math.isnan, errors)):
            table.append((source, target, ["-" if math.isnan(error) else f"{error:.3f}" for error in errors]))
    return table


def displayed_metrics(evaluation: Evaluation) -> tuple[str, ...]:
    """Returns the metrics of the tables; for laboratories that were not trained on they include the restricted one."""
    unseen = evaluation.protocol in ("leave-one-out", "external")
    return (*MAIN_METRICS, "restricted") if unseen else MAIN_METRICS


def footnotes(evaluation: Evaluation) -> list[str]:
    """Returns the footnotes of the table: protocol, folds, seed, averaging, and the classes that a source lacks."""
    notes = [PROTOCOLS.get(evaluation.protocol, f"Protocol {evaluation.protocol}."), _folds_note(evaluation)]
    notes.append("Balanced accuracy and macro F1 are means over the classes present in the test cells.")
    if len({source == ALL for source, _ in evaluation.domain_pairs}) == 2:
        notes.append(f"The mean is over the pairs with a single source; '{ALL}' is trained on all laboratories.")
    for source, target, mapping in evaluation.merged():
        notes.append(f"{source} → {target}: {mapping}, since one side does not distinguish them.")
    for source, target, classes in evaluation.missing():
        notes.append(f"{source} → {target}: {source} has no {', '.join(classes)}; such cells count as wrong.")
    return notes


def _folds_note(evaluation: Evaluation) -> str:
    folds = sorted({pair.fold for pair in evaluation.pairs})
    if evaluation.protocol == "leave-one-out":
        return f"Percent; {len(folds)} of {evaluation.n_folds} laboratories held out; seed {evaluation.seed}."
    measured = f"{len(folds)} of {evaluation.n_folds} folds"
    if len(folds) == 1:
        return f"Percent; n = 1 fold ({measured} evaluated), so no standard deviation; seed {evaluation.seed}."
    return f"Percent, mean ± standard deviation over {measured}; seed {evaluation.seed}."


def render_text(evaluation: Evaluation) -> str:
    """Returns the cross-domain tables for a terminal: metrics, calibration and footnotes as aligned plain text.

    Args:
        evaluation: The results.

    Raises:
        DataError: If the evaluation has no results.
    """
    blocks = []
    for table in (cross_domain_table(evaluation, metric) for metric in displayed_metrics(evaluation)):
        lines = [
            ["train on", *(source for source, _ in table.domain_pairs), ""],
            ["test on", *(target for _, target in table.domain_pairs), "mean"],
            *(row.cells for row in table.rows),
        ]
        blocks.append(f"{table.title}, %\n{align(lines)}")
    if errors := calibration_errors(evaluation):
        lines = [
            ["trained on → tested on", *evaluation.classifiers],
            *([f"{a} → {b}", *texts] for a, b, texts in errors),
        ]
        blocks.append(f"Expected calibration error, 0 to 1\n{align(lines)}")
    notes = "\n".join(footnotes(evaluation))
    return "\n\n".join([*blocks, notes]) + "\n"


def align(lines: Sequence[Sequence[str]]) -> str:
    """Aligns lines of cells in columns: the first to the left, the others, which are numeric, to the right.

    The result is plain text of any width, so that it can be written to a file or piped.

    Args:
        lines: Lines with the same number of cells.

    Example:
        >>> print(align([["", "cells"], ["basophil", "3"]]))
                  cells
        basophil      3
    """
    table = Table.grid(padding=(0, 2))
    for index in range(len(lines[0])):
        table.add_column(justify="right" if index else "left", no_wrap=True)
    for line in lines:
        table.add_row(*(Text(printable(cell)) for cell in line))
    console = Console(file=io.StringIO(), width=_ANY_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def render_markdown(evaluation: Evaluation) -> str:
    """Returns the cross-domain tables for a model card: a Markdown table per metric, and the footnotes.

    Args:
        evaluation: The results.

    Raises:
        DataError: If the evaluation has no results.
    """
    blocks = []
    for table in (cross_domain_table(evaluation, metric) for metric in displayed_metrics(evaluation)):
        header = ["classifier", *(f"{source} → {target}" for source, target in table.domain_pairs), "mean"]
        lines = [
            _markdown_line(header),
            "|:--|" + "--:|" * (len(header) - 1),
            *(_markdown_line(row.cells) for row in table.rows),
        ]
        blocks.append(f"**{table.title}, %**\n\n" + "\n".join(lines))
    notes = "\n".join(f"- {markdown_cell(note)}" for note in footnotes(evaluation))
    return "\n\n".join([*blocks, notes]) + "\n"


def _markdown_line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(markdown_cell, cells)) + " |"


def render_comparisons(comparisons: Sequence[Comparison], default: str) -> str:
    """Returns each classifier's comparison before and after, and the recalls and verdict of the default one.

    Args:
        comparisons: One per classifier.
        default: Name of the model's default classifier.
    """
    main = next(c for c in comparisons if c.classifier == default)
    scores = align(
        [
            ["", "before", "after", "gain"],
            *([c.classifier, str(c.before), str(c.after), str(c.gain)] for c in comparisons),
        ]
    )
    recalls = align(
        [
            ["", "cells", "before", "after"],
            *([name, f"{n}", f"{100 * a:.1f}", f"{100 * b:.1f}"] for name, (n, a, b) in main.per_class.items()),
        ]
    )
    note = explain_ends(interval for c in comparisons for interval in (c.before, c.after, c.gain))
    blocks = [
        f"Balanced accuracy on {main.held_out}, % (95 % confidence interval)\n{scores}",
        *([note] if note else []),
        f"{default}: recall, %\n{recalls}",
        f"{default}: {main.verdict}",
    ]
    return "\n\n".join(blocks)
