"""The report of a run: its results, and figures of its cells."""

import shlex

import numpy as np
from matplotlib.figure import Figure

from bc_sam.evaluation import plots
from bc_sam.evaluation.html_report import write_report
from bc_sam.evaluation.results import Evaluation
from bc_sam.models.auto import load_model
from bc_sam.models.base import CellModel
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.comparison import ComparisonModel
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.training.cell_figures import HeldOutCells, save_figures
from bc_sam.training.experiment import Experiment
from bc_sam.training.fold import FoldResult
from bc_sam.utils.atomic import load_array


def write_run_report(experiment: Experiment, command: list[str]) -> Evaluation:
    """Writes ``evaluation.json``, ``figures/*.png`` and ``report.html`` into a run folder.

    Figures of cells show held-out cells of the first finished pass. The headline and the figures are of the classifier
    that the model answers with, which the settings fix before the test, not of the one that tests best.

    Args:
        experiment: A run with at least one finished pass.
        command: The command line of the run, for the section on reproducing it.

    Returns:
        The evaluation.
    """
    evaluation = experiment.evaluation()
    model = load_model(experiment.finished_passes()[0] / "model", classifiers="default")
    classifier = model.config.default_classifier
    figures: dict[str, Figure | list[Figure]] = {
        **plots.evaluation_figures(evaluation, classifier),
        **_pictures_of_cells(experiment, model),
    }
    evaluation.save(experiment.folder / "evaluation.json")
    save_figures(figures, experiment.folder / "figures")
    write_report(
        experiment.folder / "report.html",
        evaluation,
        figures,
        title=f"{_title(experiment)}: {' and '.join(evaluation.domains)}",
        facts={
            "data": ", ".join(experiment.config.data),
            "masks": experiment.config.masks or "included in the data sets",
            "command": shlex.join(command),
        },
        classifier=classifier,
    )
    return evaluation


def _title(experiment: Experiment) -> str:
    arguments = experiment.training
    return "BC-SAM" if arguments.method == "bc-sam" else arguments.network.variant(arguments.method)


def _pictures_of_cells(experiment: Experiment, model: CellModel) -> dict[str, Figure]:
    """Draws held-out cells of the first finished pass, whose model this is."""
    folder = experiment.finished_passes()[0]
    remedy = f"Delete {folder / 'result.json'} and run the command again."
    rows, latents = np.flatnonzero(experiment.folds == 0), load_array(folder / "latents.npy", remedy)
    shown = HeldOutCells(experiment.cells, rows, latents, model)
    figures = {
        "latents": shown.latent_map(),
        "errors": shown.errors(model.config.default_classifier),
        "training": _curves(FoldResult.load(folder / "result.json")),
    }
    if isinstance(model, ComparisonModel):
        figures["attention"] = shown.attention(model)
    elif isinstance(model, BCSam):
        features = FeatureStore(experiment.work / folder.name / "features", experiment.cells.digests)
        figures |= {"masks": shown.masks(features), "reconstructions": shown.reconstructions(model, features)}
    return {name: figure for name, figure in figures.items() if figure is not None}


def _curves(result: FoldResult) -> Figure | None:
    trained = {stage: epochs for stage, epochs in result.history.items() if epochs}
    return plots.training_curves(trained) if trained else None
