"""Draws docs/scale.png: cells of three rendered laboratories before and after they are brought to one scale and light.

The normalization is told nothing about the laboratories: it measures scale, white point and stain in 24 images each.
"""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bc_sam.data.appearance.light import stain_strength
from bc_sam.data.appearance.magnification import Scale, domain_scale, measure
from bc_sam.data.appearance.normalization import cell_window, normalize_image
from bc_sam.data.datasets.rendered import LABORATORIES, Laboratory, render_cell

CLASSES = ("lymphocyte_typical", "neutrophil_segmented", "eosinophil", "monocyte")
TARGET, SIZE = 0.18, 112  # µm per pixel and pixels

#: Field of view of each laboratory, µm: they differ in magnification by a factor of two.
FIELDS = {"munich": 24.0, "barcelona": 34.0, "tehran": 48.0}


def render(laboratory: Laboratory) -> list[NDArray[np.uint8]]:
    """Renders six cells of each class; the first of each is shown."""
    return [render_cell(label, laboratory, np.random.default_rng(i))[0] for i in range(6) for label in CLASSES]


def normalize(images: list[NDArray[np.uint8]]) -> tuple[list[NDArray[np.uint8]], Scale]:
    """Brings images of one laboratory to one scale and light."""
    measurements = [measure(image) for image in images]
    scale = domain_scale(measurements)
    strength = stain_strength(found.nucleus_density for found in measurements)
    shown = []
    for image, found in zip(images, measurements, strict=True):
        window = cell_window(found, image.shape, scale.microns_per_pixel, target=TARGET, size=SIZE)
        shown.append(normalize_image(image, window, found.white, strength))
    return shown, scale


def draw() -> Figure:
    """Draws a row for each laboratory: cells as they are on the left, normalized on the right."""
    n = len(CLASSES)
    figure = Figure(figsize=(10.4, 4.2), layout="constrained")
    before, after = figure.subfigures(1, 2, wspace=0.03, width_ratios=(1.27, 1))
    before.suptitle("As photographed", fontsize=11)
    after.suptitle(f"At {TARGET} µm per pixel, in the reference light", fontsize=11)
    grids = [part.subplots(len(FIELDS), n) for part in (before, after)]
    for row, (name, width) in enumerate(FIELDS.items()):
        images = render(replace(LABORATORIES[name], width=width))
        normalized, scale = normalize(images)
        for grid, cells in zip(grids, (images, normalized), strict=True):
            for axes, cell, label in zip(grid[row], cells, CLASSES, strict=False):
                axes.imshow(cell)
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if row == 0:
                    axes.set_title(label.split("_")[0], fontsize=9)
        true = width / len(images[0])
        text = f"{name}\n{true:.3f} µm per pixel\nmeasured: {scale.microns_per_pixel:.3f}"
        grids[0][row, 0].set_ylabel(text, fontsize=8, rotation=0, ha="right", va="center")
    return figure


if __name__ == "__main__":
    file = io.BytesIO()
    draw().savefig(file, dpi=110)
    Image.open(file).convert("RGB").quantize(128).save(Path(__file__).with_name("scale.png"), optimize=True)
