"""Figures of a run. Each function returns a matplotlib figure; none needs a display or changes global state."""

from bc_sam.evaluation.plots.cells import attention_maps, cell_gallery, mask_overlays, reconstructions
from bc_sam.evaluation.plots.latents import latent_map
from bc_sam.evaluation.plots.png import to_png
from bc_sam.evaluation.plots.results import (
    confusion_matrix,
    cross_domain_bars,
    evaluation_figures,
    reliability_diagram,
)
from bc_sam.evaluation.plots.style import readable
from bc_sam.evaluation.plots.training import training_curves

__all__ = [
    "attention_maps",
    "cell_gallery",
    "confusion_matrix",
    "cross_domain_bars",
    "evaluation_figures",
    "latent_map",
    "mask_overlays",
    "readable",
    "reconstructions",
    "reliability_diagram",
    "to_png",
    "training_curves",
]
