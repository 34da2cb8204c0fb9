"""Predictions as text for the terminal: one line per cell, the differential count, and what was skipped."""

from collections.abc import Mapping, Sequence
from textwrap import indent

from bc_sam.errors import ImageError
from bc_sam.evaluation.tables import align
from bc_sam.models.differential import differential_count
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


def render_skipped(n_errors: int, n_images: int, other_files: Mapping[str, int]) -> list[str]:
    """Returns a line on the unreadable images and one on the files that are not images, where there are any.

    Args:
        n_errors: Number of unreadable images.
        n_images: Number of images.
        other_files: Number of other files, by suffix.

    Example:
        >>> render_skipped(1, 60, {".xml": 2})
        ['1 of 60 images could not be read.', 'Passed over as no images: 2 files (.xml 2).']
    """
    lines = []
    if n_errors:
        lines.append(f"{n_errors} of {n_images} images could not be read.")
    if n_others := sum(other_files.values()):
        suffixes = ", ".join(f"{suffix} {count}" for suffix, count in sorted(other_files.items()))
        lines.append(printable(f"Passed over as no images: {n_others} file{'s' * (n_others > 1)} ({suffixes})."))
    return lines


def render_differential(counts: Mapping[str, int]) -> str:
    """Returns the differential count: count, share and 95 % confidence interval per class, largest first."""
    rows = [
        [line.label, f"{line.count}", f"{line.share:.1%}", f"({line.low:.1%} to {line.high:.1%})"]
        for line in differential_count(counts)
    ]
    title = f"Differential count of {sum(counts.values())} cells (95 % confidence interval)"
    return f"{title}\n{indent(align(rows), '  ')}" if rows else title
