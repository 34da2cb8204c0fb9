"""The report of a run: its results, and figures of its cells."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from bc_sam.data.store import CellStore
from bc_sam.evaluation import plots
from bc_sam.evaluation.html_report import write_report
from bc_sam.evaluation.projection import TSNE_LIMIT, project
from bc_sam.evaluation.results import Evaluation
from bc_sam.evaluation.tables import best_classifier
from bc_sam.models.auto import load_model
from bc_sam.models.base import CellModel
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.comparison import ComparisonModel
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.training.cross_validation import dice_of_rows
from bc_sam.training.experiment import Experiment
from bc_sam.training.fold import FoldResult
from bc_sam.utils.atomic import load_array, written_aside

#: Cells per figure.
_SHOWN = 12


def write_run_report(experiment: Experiment, command: list[str]) -> Evaluation:
    """Writes ``evaluation.json``, ``figures/*.png`` and ``report.html`` into a run folder.

    Figures of cells show held-out cells of the first finished pass.

    Args:
        experiment: A run with at least one finished pass.
        command: The command line of the run, for the section on reproducing it.

    Returns:
        The evaluation.
    """
    evaluation = experiment.evaluation()
    best = best_classifier(evaluation)
    figures: dict[str, Figure | list[Figure]] = {
        **plots.evaluation_figures(evaluation, best),
        **_pictures_of_cells(experiment, best),
    }
    evaluation.save(experiment.folder / "evaluation.json")
    _save_figures(figures, experiment.folder / "figures")
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
        classifier=best,
    )
    return evaluation


def _title(experiment: Experiment) -> str:
    arguments = experiment.training
    return "BC-SAM" if arguments.method == "bc-sam" else arguments.network.variant(arguments.method)


def _pictures_of_cells(experiment: Experiment, classifier: str) -> dict[str, Figure]:
    """Draws held-out cells of the first finished pass."""
    folder = experiment.finished_passes()[0]
    model = load_model(folder / "model")
    remedy = f"Delete {folder / 'result.json'} and run the command again."
    rows, latents = np.flatnonzero(experiment.folds == 0), load_array(folder / "latents.npy", remedy)
    shown = _HeldOut(experiment.cells, rows, latents, model)
    figures = {
        "latents": shown.latent_map(),
        "errors": shown.errors(classifier),
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


@dataclass(frozen=True)
class _HeldOut:
    """The held-out cells of one pass, with its model and latents."""

    cells: CellStore
    rows: np.ndarray
    latents: np.ndarray
    model: CellModel

    def latent_map(self) -> Figure:
        rows = _evenly(self.rows, TSNE_LIMIT)
        points, method = project(self.latents[rows])
        names = self.cells.table.domain_names
        labels, domains = self.cells.labels[rows], self.cells.domains[rows]
        return plots.latent_map(points, labels, domains, self.model.labels, names, method=method)

    def masks(self, features: FeatureStore) -> Figure | None:
        """Draws annotated and predicted masks, from worst to best Dice; only predicted ones if none is annotated."""
        annotated_rows = self.rows[self.cells.has_mask[self.rows]]
        if not len(annotated_rows):
            rows = _evenly(self.rows, _SHOWN)
            images, predicted = self.cells.pixels[rows], features.masks[rows]
            return plots.mask_overlays(images, predicted, None, [self._name(row) for row in rows])
        overlap = dice_of_rows(features.masks, self.cells.masks, annotated_rows)
        chosen = _evenly(np.argsort(overlap), _SHOWN)
        rows = annotated_rows[chosen]
        titles = [f"{self._name(row)}\nDice {value:.2f}" for row, value in zip(rows, overlap[chosen], strict=True)]
        annotated = self.cells.masks[rows] > 0
        title = "Cell masks, from worst to best Dice"
        return plots.mask_overlays(self.cells.pixels[rows], features.masks[rows], annotated, titles, title=title)

    def attention(self, model: ComparisonModel) -> Figure | None:
        """Returns the attention maps of a network, if it has attention."""
        if not model.has_attention:
            return None
        rows = _evenly(self.rows, _SHOWN)
        images = self.cells.pixels[rows]
        return plots.attention_maps(list(images), model.attention(list(images)), [self._name(row) for row in rows])

    def reconstructions(self, model: BCSam, features: FeatureStore) -> Figure:
        rows = _evenly(self.rows, _SHOWN)
        latents = torch.from_numpy(self.latents[rows]).to(model.device)
        with torch.inference_mode():
            rebuilt = model.autoencoder.decode(latents).permute(0, 2, 3, 1).cpu().numpy()
        return plots.reconstructions(features.targets[rows], rebuilt, [self._name(row) for row in rows])

    def errors(self, classifier: str) -> Figure | None:
        """Returns the errors with the highest confidence."""
        rows = self.rows[self.cells.labels[self.rows] >= 0]
        probabilities = self.model.classifiers[classifier].predict_proba(self.latents[rows])
        predicted = probabilities.argmax(axis=1)
        wrong = np.flatnonzero(predicted != self.cells.labels[rows])
        wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:_SHOWN]
        if not len(wrong):
            return None
        titles = [
            f"{self._name(rows[i])}\n→ {plots.readable(self.model.labels[predicted[i]])}, {probabilities[i].max():.0%}"
            for i in wrong
        ]
        title = f"Most confident errors of {classifier}"
        return plots.cell_gallery(list(self.cells.pixels[rows[wrong]]), titles, title=title)

    def _name(self, row: int) -> str:
        label = self.cells.labels[row]
        domain = self.cells.table.domain_names[self.cells.domains[row]]
        return f"{domain}: {plots.readable(self.model.labels[label]) if label >= 0 else 'unlabelled'}"


def _evenly(items: np.ndarray, n: int) -> np.ndarray:
    """Picks at most `n` items, evenly spaced."""
    return items[np.unique(np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int))]


def _save_figures(figures: dict[str, Figure | list[Figure]], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, drawn in figures.items():
        for number, figure in enumerate(drawn if isinstance(drawn, list) else [drawn]):
            with written_aside(
                folder / (f"{name}_{number + 1}.png" if isinstance(drawn, list) else f"{name}.png")
            ) as part:
                figure.savefig(part, format="png")
