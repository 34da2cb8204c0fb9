"""The report of an adaptation: before and after, recall by class, confusion, and pictures of what went wrong."""

import csv
import logging
import shlex

import numpy as np
from matplotlib.figure import Figure

from bc_sam.errors import BCSamError
from bc_sam.evaluation import plots
from bc_sam.evaluation.html_report import write_report
from bc_sam.evaluation.results import Evaluation
from bc_sam.models.auto import load_model
from bc_sam.models.base import CellModel
from bc_sam.training.adaptation import MASK_PROBLEMS, Adaptation, AdaptationResult
from bc_sam.training.cell_figures import HeldOutCells, save_figures
from bc_sam.training.environment import environment

logger = logging.getLogger(__name__)


def write_adaptation_report(adaptation: Adaptation, result: AdaptationResult, command: list[str]) -> None:
    """Writes ``report.html``, ``figures/*.png`` and, if held-out cells are labelled, ``evaluation.json``.

    Args:
        adaptation: A finished adaptation.
        result: Its result.
        command: The command line, for the section on reproducing the run.
    """
    model = load_model(adaptation.folder / "model", classifiers="default")
    classifier = model.config.default_classifier
    evaluation = model.evaluation or _without_results(adaptation)
    figures: dict[str, Figure | list[Figure]] = {**_pictures_of_cells(adaptation, model)}
    if evaluation.pairs:
        figures |= plots.evaluation_figures(evaluation, classifier)
        evaluation.save(adaptation.folder / "evaluation.json")
    else:  # there may be one of cells that had labels
        (adaptation.folder / "evaluation.json").unlink(missing_ok=True)
    save_figures(figures, adaptation.folder / "figures")
    config = adaptation.config
    write_report(
        adaptation.folder / "report.html",
        evaluation,
        figures,
        title=f"Adaptation to {evaluation.domains[0]}",
        facts={
            "model": config.model,
            "data": config.data,
            "masks": config.masks or "included in the data set",
            "trained on": f"{result.learned} cells, {result.labelled} of them labelled, and {result.masks} masks",
            "predicted masks that look wrong": f"{result.mask_problems}",
            "command": shlex.join(command),
        },
        classifier=classifier,
        comparisons=result.comparisons,
    )


def _pictures_of_cells(adaptation: Adaptation, model: CellModel) -> dict[str, Figure]:
    """Draws the surest errors in the held-out cells, and doubtful outlines in all cells."""
    try:
        latents = adaptation.latents("after")
    except BCSamError as error:
        logger.warning("The report has no pictures of cells: %s", error)
        return {}
    shown = HeldOutCells(adaptation.cells, np.flatnonzero(adaptation.held_out), latents, model)
    figures = {
        "errors": shown.errors(model.config.default_classifier),
        "masks": shown.doubtful_masks(_mask_problems(adaptation)),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _mask_problems(adaptation: Adaptation) -> dict[int, str]:
    """Reads what is wrong with the predicted mask of a cell, by its row."""
    rows = {file: row for row, file in enumerate(adaptation.cells.table.files)}
    with (adaptation.folder / MASK_PROBLEMS).open(newline="", encoding="utf-8") as file:
        return {rows[line["file"]]: line["problem"] for line in csv.DictReader(file) if line["file"] in rows}


def _without_results(adaptation: Adaptation) -> Evaluation:
    """Describes an adaptation of which no held-out cell is labelled."""
    training, name = adaptation.training, adaptation.cells.table.domain_names[0]
    return Evaluation(
        protocol="adapted",
        labels=list(adaptation.labels),
        domains=[name],
        seed=training.seed,
        n_folds=training.folds,
        counts={name: {"unlabelled": int((adaptation.cells.labels < 0).sum())}},
        environment=environment(training, adaptation.precision),
    )
