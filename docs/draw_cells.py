"""Draws the picture at the head of the README: six classes as three rendered laboratories show them."""

from pathlib import Path

import numpy as np

from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.evaluation.plots import cell_gallery, readable

CLASSES = ("neutrophil_segmented", "eosinophil", "basophil", "monocyte", "lymphocyte_typical", "myeloblast")

if __name__ == "__main__":
    shown = [(name, label) for name in LABORATORIES for label in CLASSES]
    cells = [render_cell(label, LABORATORIES[name], np.random.default_rng(4)) for name, label in shown]
    titles = [f"{name}\n{readable(label)}" for name, label in shown]
    title = "The same cells, as three rendered laboratories stain and photograph them"
    figure = cell_gallery([image for image, _ in cells], titles, title=title)
    figure.savefig(Path(__file__).with_name("cells.png"), dpi=110)
