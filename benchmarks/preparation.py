"""How long does it take to prepare a cell for the encoder, and which steps are worth code of their own?

python benchmarks/preparation.py FOLDER... prints for each folder of cells the CPU time from the decoded image to the
pixels that the encoder sees, its parts, and what the plain form of a step takes that is computed in another way here.
CPU time, as the machine may be busy. Images are of one laboratory a folder, as for bc-sam predict.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy import ndimage
from timing import print_table

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.appearance import magnification, red_cells
from bc_sam.data.appearance.circle_votes import CircleVotes
from bc_sam.data.appearance.light import optical_density, white_point
from bc_sam.data.appearance.white_cell import closer_than, find_nuclei, opened
from bc_sam.data.images import find_images, read_image
from bc_sam.data.preparation import Preparation, profile_sources, sample_evenly

# Margin of nuclei in which there are no edges of red cells, at 176 px.
_MARGIN = 3.5


def main() -> None:
    """Prints a table for each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of cells, one laboratory each")
    parser.add_argument("--cells", type=int, default=40, help="cells of each folder")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for folder in options.folders:
        print(f"\n{folder.name}")
        print_table(["step", "here, CPU ms a cell", "plainly", "ratio"], _rows(folder, options.cells, options.rounds))


def _rows(folder: Path, n_cells: int, rounds: int) -> list[tuple[str, ...]]:
    files = find_images(folder)
    files = [files[index] for index in sample_evenly(len(files), n_cells)]
    images = [read_image(file) for file in files]
    arrays = [np.asarray(image) for image in images]
    preparation = Preparation(112, NormalizationConfig(), profile_sources(files))
    reduced = [magnification.reduce_image(a, min(1.0, magnification.WORKING_SIDE / max(a.shape))) for a in arrays]
    densities = [optical_density(image, white_point(a)) for image, a in zip(reduced, arrays, strict=True)]
    nuclei = [find_nuclei(density) for density in densities]
    votes = [vote for vote in map(_votes, densities, nuclei) if vote is not None]

    def pooled_where_enough() -> None:
        for vote in votes:
            CircleVotes(*vote).circles(red_cells._LEAST_SUPPORT)

    def pooled_everywhere() -> None:
        for vote in votes:
            np.nonzero(CircleVotes(*vote).support() >= red_cells._LEAST_SUPPORT)

    steps: dict[str, tuple[Callable[[], Any], Callable[[], Any] | None]] = {
        "decoding": (lambda: [read_image(file) for file in files], None),
        "preparation": (lambda: [preparation.prepare(image) for image in images], None),
        "of it, measuring": (lambda: [magnification.measure(array) for array in arrays], None),
        "of it, votes for red cells": (pooled_where_enough, pooled_everywhere),
        "distance to nuclei": (
            lambda: [closer_than(_MARGIN, mask) for mask in nuclei],
            lambda: [ndimage.distance_transform_edt(~mask) < _MARGIN for mask in nuclei],
        ),
        "opening of nuclei": (
            lambda: [opened(mask) for mask in nuclei],
            lambda: [ndimage.binary_opening(mask) for mask in nuclei],
        ),
    }
    return [(name, *_compared(*step, rounds, len(files))) for name, step in steps.items()]


def _votes(density: np.ndarray, nuclei: np.ndarray) -> tuple[Any, ...] | None:
    """Returns the arguments of `CircleVotes` for an image; ``None`` if it has no edges."""
    longer = max(nuclei.shape)
    near = closer_than(_MARGIN, nuclei) if nuclei.any() else nuclei
    edges = red_cells.find_edges(density, near, max(red_cells._SMOOTHING * longer, 0.7))
    margin = round(red_cells._OUTER_MARGIN * longer)
    return None if edges is None else (edges, nuclei.shape, margin, red_cells._RADII * longer)


def _compared(
    here: Callable[[], Any], plainly: Callable[[], Any] | None, rounds: int, n_cells: int
) -> tuple[str, str, str]:
    """Returns the median CPU ms a cell of both, alternating, and the median of the ratios."""
    pairs = [(_cpu_ms(here) / n_cells, plainly and _cpu_ms(plainly) / n_cells) for _ in range(rounds + 1)][1:]
    ours = f"{median(pair[0] for pair in pairs):.2f}"
    if plainly is None:
        return ours, "", ""
    others = [(first, second) for first, second in pairs if second is not None]
    return ours, f"{median(second for _, second in others):.2f}", f"{median(a / b for a, b in others):.2f}"


def _cpu_ms(function: Callable[[], Any]) -> float:
    start = time.process_time()
    function()
    return 1000 * (time.process_time() - start)


if __name__ == "__main__":
    main()
