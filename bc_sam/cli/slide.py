"""Prints the predictions of ``bc-sam predict``, which are those of one laboratory, and their differential count."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path

from tqdm import tqdm

from bc_sam.classifiers.laboratory_fit import ENOUGH_CELLS, LaboratoryFit
from bc_sam.cli.output import describe, render_differential, unreadable
from bc_sam.evaluation.naming_error import NamingError
from bc_sam.models.abstention import BLASTS
from bc_sam.models.base import CellModel
from bc_sam.models.differential import Tally, differential_count
from bc_sam.models.laboratory import NOT_KNOWN, describe_laboratory, laboratory_of
from bc_sam.models.prediction import Prediction
from bc_sam.models.prediction_table import PredictionTable
from bc_sam.utils.display import printable
from bc_sam.utils.guarded_csv import open_csv

_CHOOSE = (
    "Say which kinds can occur with --labels five-part, --labels with-blasts, --labels all or a list of your own; or "
    "adapt the model with a few labels: bc-sam adapt --help.\n"
)

# Most files of perhaps blasts that are listed; the CSV has all.
_MOST_FILES = 10


def predict_cells(
    model: CellModel,
    names: Sequence[str],
    predictions: Iterator[Prediction],
    csv: Path | None,
    *,
    given_by: str,
    kinds_chosen: bool,
    count_all: bool,
) -> list[str]:
    """Prints what is known of the laboratory, a line per cell, and the count; writes the CSV.

    Args:
        model: The model that predicts.
        names: File name of each image.
        predictions: One for each image.
        csv: CSV to write, if any.
        given_by: Name of the classifier.
        kinds_chosen: Whether the user said which kinds can occur.
        count_all: Count nucleated red cells and smudge cells among the 100 %.

    Returns:
        A line for each image that could not be read.
    """
    progress = iter(tqdm(predictions, total=len(names), unit="cell", disable=len(names) == 1 or None))
    first = list(islice(progress, ENOUGH_CELLS))  # enough to say what is known of the laboratory before any name
    unknown = laboratory_notice(laboratory_of(model, first), kinds_chosen=kinds_chosen)
    if unknown:
        _print(unknown)
    errors: list[str] = []
    cells: list[tuple[str | None, str | None, None]] = []
    blasts: list[str] = []
    with open_csv(csv) if csv else nullcontext() as file:
        table = PredictionTable(file, model.labels, NOT_KNOWN if unknown else "") if file else None
        for name, prediction in zip(names, chain(first, progress), strict=True):
            _print(describe(name, prediction, model.labels))
            if table:
                table.add(name, prediction, given_by=given_by)
            if prediction.error is not None:
                errors.append(unreadable(name, prediction.error))
                continue
            cells.append((prediction.label, prediction.likeliest, None))
            if prediction.label in BLASTS:
                blasts.append(name)
    print_count(model, cells, blasts, given_by=given_by, shares=kinds_chosen or not unknown, count_all=count_all)
    return errors


def print_count(
    model: CellModel,
    cells: Sequence[tuple[str | None, str | None, None]],
    blasts: Sequence[str],
    *,
    given_by: str,
    shares: bool,
    count_all: bool,
) -> None:
    """Prints the differential count of a slide and what has to be known to read it.

    Args:
        model: The model that named the cells.
        cells: Name and likeliest name of each cell, and none by hand.
        blasts: Where the cells are that the model calls blasts.
        given_by: Name of the classifier.
        shares: Whether to print shares and intervals.
        count_all: Count nucleated red cells and smudge cells among the 100 %.
    """
    tally = Tally.of(cells)
    error = NamingError.of(model.evaluation, given_by)
    if error is not None:
        error = error.restricted(model.config.allowed_labels or model.labels)
    if len(cells) > 1:
        lines = differential_count(tally.counts, count_all=count_all, tally=tally, error=error)
        print(
            f"\n{render_differential(lines, shares=shares)}"
            if lines
            else "\nNo differential count: no cell can be counted."
        )
        for note in _notes(tally, blasts, shares=shares, naming=error is not None):
            print(note)
    elif blasts:
        print(_blasts(blasts))
    if unnamed := tally.unnamed.total() - len(blasts):
        print(f"\n{unnamed} without a name; please review {'them' if unnamed > 1 else 'it'}.")


def laboratory_notice(fit: LaboratoryFit, *, kinds_chosen: bool) -> str:
    """Returns what to say about a laboratory that the model does not know, and what to do; else an empty text."""
    unknown = describe_laboratory(fit)
    return unknown if kinds_chosen or not unknown else f"{unknown} {_CHOOSE}"


def _notes(tally: Tally, blasts: Sequence[str], *, shares: bool, naming: bool) -> Iterator[str]:
    """Yields what has to be known to read the count."""
    if not shares:
        yield "No shares, since the model does not know this laboratory and --labels does not say what can occur."
    elif naming and tally.counts:
        yield "Intervals include errors of naming as on the model's held-out cells, and the cells without a name."
    elif tally.counts:
        yield "Intervals reflect sampling only: no errors of naming are stored with the model."
    if blasts:
        yield _blasts(blasts)


def _blasts(files: Sequence[str]) -> str:
    shown = ", ".join(files[:_MOST_FILES]) + (", ..." if len(files) > _MOST_FILES else "")
    return printable(f"Perhaps blasts, not counted before a person has looked: {len(files)} ({shown}).")


def _print(text: str) -> None:
    tqdm.write(text, file=sys.stdout)
