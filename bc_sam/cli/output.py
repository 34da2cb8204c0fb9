"""Predictions as text for the terminal: one line per cell, and the differential count."""

from collections.abc import Mapping, Sequence
from textwrap import indent

from bc_sam.errors import ImageError
from bc_sam.evaluation.tables import align
from bc_sam.models.differential import differential_count
from bc_sam.models.field_records import FieldRecord
from bc_sam.models.prediction import Prediction, top_labels
from bc_sam.utils.display import printable


def describe(name: str, prediction: Prediction, labels: Sequence[str]) -> str:
    """Returns one line: file, label and runner-up, or the reasons for abstaining.

    Args:
        name: File name.
        prediction: The prediction for it.
        labels: Label names, in the order of the probabilities.
    """
    if prediction.probabilities is None:
        return printable(f"{name}: cannot be read")
    reasons = " ".join(reason.text for reason in prediction.reasons)
    (first, p), *others = top_labels(prediction.probabilities, labels, 2)
    if prediction.abstained:
        return printable(f"{name}: no name. {reasons}")
    guess = "".join(f" (else {second} {q:.2f})" for second, q in others)
    return printable(f"{name}: {first} {p:.2f}{guess}" + (f" {reasons}" if reasons else ""))


def unreadable(name: str, error: ImageError | None) -> str:
    """Returns one line that says why an image has no result."""
    return printable(f"not read: {name}: {error}")


def render_differential(counts: Mapping[str, int]) -> str:
    """Returns the differential count: count, share and 95 % confidence interval per class, largest first."""
    rows = [
        [line.label, f"{line.count}", f"{line.share:.1%}", f"({line.low:.1%} to {line.high:.1%})"]
        for line in differential_count(counts)
    ]
    title = f"Differential count of {sum(counts.values())} cells (95 % confidence interval)"
    return f"{title}\n{indent(align(rows), '  ')}" if rows else title


def describe_field(record: FieldRecord) -> str:
    """Returns one line: the field, its white cells by name, its other cells, and what is unusual about it.

    Args:
        record: What was found in the field.
    """
    n_cells, named = len(record.cells), record.counts
    parts = [f"{count} {label}" for label, count in named.most_common()]
    if unnamed := n_cells - named.total():
        parts.append(f"{unnamed} without a name")
    facts = [f"{n_cells} white cell{'' if n_cells == 1 else 's'}" + (f" ({', '.join(parts)})" if parts else "")]
    if record.n_red_cells is not None:
        facts.append(f"{record.n_red_cells} red cells")
    if record.n_platelets is not None:
        facts.append(f"{record.n_platelets} platelets")
    return printable(" ".join([f"{record.field}: {', '.join(facts)}.", *record.notes]))
