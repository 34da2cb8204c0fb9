"""Draws the figure at the top of the README: six classes in the style of three rendered laboratories."""

from pathlib import Path

import numpy as np

from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.evaluation.plots import cell_gallery, readable

CLASSES = ("neutrophil_segmented", "eosinophil", "basophil", "monocyte", "lymphocyte_typical", "myeloblast")

if __name__ == "__main__":
    pairs = [(name, label) for name in LABORATORIES for label in CLASSES]
    cells = [render_cell(label, LABORATORIES[name], np.random.default_rng(4)) for name, label in pairs]
    titles = [f"{name}\n{readable(label)}" for name, label in pairs]
    title = "The same cells, stained and photographed in three rendered laboratories"
    figure = cell_gallery([image for image, _ in cells], titles, title=title)
    figure.savefig(Path(__file__).with_name("cells.png"), dpi=110)
