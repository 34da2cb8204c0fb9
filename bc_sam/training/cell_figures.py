"""Figures of the cells of a run: embeddings, masks, reconstructions, attention and errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from bc_sam.data.store import CellStore
from bc_sam.evaluation import plots
from bc_sam.evaluation.html_report import FIGURES
from bc_sam.evaluation.projection import TSNE_LIMIT, project
from bc_sam.models.base import CellModel
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.comparison import ComparisonModel
from bc_sam.models.observation import Parts
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.training.cross_validation import dice_of_rows
from bc_sam.utils.atomic import written_aside

#: Cells per figure.
_SHOWN = 12


@dataclass(frozen=True)
class HeldOutCells:
    """The held-out cells of a run, with its model and latents; each method draws one figure.

    Attributes:
        cells: All cells.
        rows: Rows of the held-out ones, (k,) int64.
        latents: Embedding of every cell, (n, d) float32.
        model: The trained model.
    """

    cells: CellStore
    rows: np.ndarray
    latents: np.ndarray
    model: CellModel

    def latent_map(self) -> Figure:
        """Draws a map of the embeddings by class and by laboratory."""
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
        """Draws cells and what the autoencoder makes of their embeddings."""
        rows = _evenly(self.rows, _SHOWN)
        latents = torch.from_numpy(self.latents[rows]).to(model.device)
        with torch.inference_mode():
            rebuilt = model.autoencoder.decode(latents).permute(0, 2, 3, 1).cpu().numpy()
        return plots.reconstructions(features.targets[rows], rebuilt, [self._name(row) for row in rows])

    def errors(self, classifier: str) -> Figure | None:
        """Draws the errors of a classifier with the highest confidence; ``None`` if there are none."""
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

    def doubtful_masks(self, problems: Mapping[int, str]) -> Figure | None:
        """Draws cells whose predicted mask looks wrong, evenly picked from all; ``None`` if there are none.

        Args:
            problems: What is wrong with the mask of a cell, by its row; rows that are not held out count, too.
        """
        rows = _evenly(np.array(sorted(problems), np.int64), _SHOWN)
        if not len(rows):
            return None
        pixels = self.cells.pixels[rows]
        masks = self.model.observe(pixels, Parts.MASKS).masks
        if masks is None:
            return None
        titles = [f"{self._name(row)}\n{problems[row]}" for row in rows.tolist()]
        title = f"Doubtful outlines, {len(rows)} of {len(problems)}"
        return plots.mask_overlays(pixels, masks, None, titles, title=title)

    def _name(self, row: int) -> str:
        label = self.cells.labels[row]
        domain = self.cells.table.domain_names[self.cells.domains[row]]
        return f"{domain}: {plots.readable(self.model.labels[label]) if label >= 0 else 'unlabelled'}"


def _evenly(items: np.ndarray, n: int) -> np.ndarray:
    """Picks at most `n` items, evenly spaced."""
    return items[np.unique(np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int))]


def save_figures(figures: Mapping[str, Figure | list[Figure]], folder: Path) -> None:
    """Saves figures as PNG files, named after their keys; those of a list are numbered.

    Figures of an earlier report that this one has not are removed.
    """
    folder.mkdir(exist_ok=True)
    files: dict[Path, Figure] = {}
    for name, drawn in figures.items():
        for number, figure in enumerate(drawn if isinstance(drawn, list) else [drawn]):
            files[folder / (f"{name}_{number + 1}.png" if isinstance(drawn, list) else f"{name}.png")] = figure
    for path, figure in files.items():
        with written_aside(path) as part:
            part.write_bytes(plots.to_png(figure))
    for name in FIGURES:
        for path in {folder / f"{name}.png", *folder.glob(f"{name}_[0-9]*.png")} - files.keys():
            path.unlink(missing_ok=True)
