"""Predictions as text for the terminal: one line per cell, the differential count, and what was skipped."""

from collections.abc import Mapping, Sequence
from textwrap import indent

from bc_sam.config.labels import COARSE_LABELS, plain_name
from bc_sam.errors import ImageError
from bc_sam.evaluation.tables import align
from bc_sam.models.differential import ClassCount
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
    if prediction.label in COARSE_LABELS:  # the kinds are in the reasons
        return printable(f"{name}: {prediction.label} {prediction.label_probability:.2f} {reasons}")
    guess = "".join(f" (else {second} {q:.2f})" for second, q in others)
    return printable(f"{name}: {first} {p:.2f}{guess}" + (f" {reasons}" if reasons else ""))


def unreadable(name: str, error: ImageError | None) -> str:
    """Returns one line that says why an image has no result."""
    return printable(f"not read: {name}: {error}")


def render_skipped(n_errors: int, n_images: int, other_files: Mapping[str, int], n_incomplete: int = 0) -> list[str]:
    """Returns a line each on unreadable images, incomplete ones and files that are not images, where there are any.

    Args:
        n_errors: Number of unreadable images.
        n_images: Number of images.
        other_files: Number of other files, by suffix.
        n_incomplete: Number of images of which parts could not be read.

    Example:
        >>> render_skipped(1, 60, {".xml": 2})
        ['1 of 60 images could not be read.', 'Passed over as no images: 2 files (.xml 2).']
    """
    lines = []
    if n_errors:
        lines.append(f"{n_errors} of {n_images} images could not be read.")
    if n_incomplete:
        lines.append(
            f"{n_incomplete} of {n_images} images could be read in part only. With --out, the same command tries "
            "the missing parts again."
        )
    if n_others := sum(other_files.values()):
        suffixes = ", ".join(f"{suffix} {count}" for suffix, count in sorted(other_files.items()))
        lines.append(printable(f"Passed over as no images: {n_others} file{'s' * (n_others > 1)} ({suffixes})."))
    return lines


def render_differential(lines: Sequence[ClassCount], *, shares: bool = True) -> str:
    """Returns the differential count as a laboratory prints it: count, share and 95 % confidence interval.

    Args:
        lines: See `bc_sam.models.differential.differential_count`.
        shares: Whether to print shares and intervals, which mean little in a laboratory that the model does not know.
    """
    total = sum(line.count for line in lines if not line.outside and not line.part_of)
    rows = [_line(line, shares) for line in lines]
    interval = " (95 % confidence interval)" if shares else ""
    title = f"Differential count of {total} white {'cells' if total != 1 else 'cell'}{interval}"
    return f"{title}\n{indent(align(rows), '  ')}" if rows else title


def _line(line: ClassCount, shares: bool) -> list[str]:
    name = ("  " if line.part_of else "") + plain_name(line.label)
    if not shares:
        return [name, f"{line.count}"]
    if line.outside:
        per_100 = [f"{100 * share:.1f}" for share in (line.share, line.low, line.high)]
        return [name, f"{line.count}", f"{per_100[0]} per 100", f"({per_100[1]} to {per_100[2]})"]
    return [name, f"{line.count}", f"{line.share:.1%}", f"({line.low:.1%} to {line.high:.1%})"]


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
