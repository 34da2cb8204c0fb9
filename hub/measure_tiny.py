"""Measures abstention, time and memory, which a model card lacks: python hub/measure_tiny.py --help.

Reports how well abstention separates cells from other images, the time per cell on one core, and the peak memory.
"""

import argparse
import resource
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from bc_sam import load_model
from bc_sam.data.images import find_images, read_image
from bc_sam.models.abstention import decide, image_reasons
from bc_sam.models.base import CellModel
from bc_sam.models.inspection import inspect_cells
from bc_sam.models.observation import ObservedCell


def main() -> None:
    """Prints a table of abstention and a line with time and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path, help="folder of cells of the model's classes, ideally of a new laboratory")
    parser.add_argument("--other", type=Path, nargs="*", default=[], help="folders of out-of-distribution images")
    parser.add_argument("--model", default="bc-sam-tiny")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(options.model, device="cpu")
    files = find_images(options.cells)
    start = time.perf_counter()
    cells = observe(model, files)
    seconds = time.perf_counter() - start
    others: dict[str, Sequence[Any]] = {folder.name: find_images(folder) for folder in options.other}
    others |= {"empty field": empty_fields(), "noise": noise(), "half a cell": halves(files)}
    print(f"Abstention of {model.config.default_classifier}; {len(files)} cells of {options.cells.name}.\n")
    print("| | images | abstained | AUROC, 1 - confidence | AUROC, OOD score |\n|:--|--:|--:|--:|--:|")
    print(f"| cells | {len(cells)} | {abstention_rate(model, cells):.0%} | | |")
    for name, images in others.items():
        observed = observe(model, images)
        print(
            f"| {name} | {len(observed)} | {abstention_rate(model, observed):.0%} | "
            f"{auroc(uncertainty(model, cells), uncertainty(model, observed)):.3f} | "
            f"{auroc(ood_scores(cells), ood_scores(observed)):.3f} |"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"\nOne core: {1000 * seconds / len(files):.0f} ms per cell of a slide; peak memory {peak:.0f} MiB.")


def observe(model: CellModel, images: Iterable[Any]) -> list[ObservedCell]:
    """Returns the model's observations of the readable images."""
    return [cell.observed for cell in inspect_cells(model, images, batch_size=8) if cell.observed is not None]


def uncertainty(model: CellModel, cells: Sequence[ObservedCell]) -> np.ndarray:
    """Returns 1 minus the probability of the most probable label, (n,)."""
    return np.array([1 - cell.probabilities[model.config.default_classifier].max() for cell in cells])


def ood_scores(cells: Sequence[ObservedCell]) -> np.ndarray:
    """Returns the out-of-distribution scores, (n,)."""
    return np.array([cell.ood for cell in cells])


def abstention_rate(model: CellModel, cells: Sequence[ObservedCell]) -> float:
    """Returns the fraction of images that the model abstains on with the default thresholds."""
    name = model.config.default_classifier
    decisions = [decide(cell.probabilities[name], cell.ood, image_reasons(cell)) for cell in cells]
    return float(np.mean([decision.abstain for decision in decisions]))


def auroc(cells: np.ndarray, others: np.ndarray) -> float:
    """Returns the area under the ROC curve of separating other images from cells by their scores."""
    return float(roc_auc_score([0] * len(cells) + [1] * len(others), np.concatenate([cells, others])))


def empty_fields() -> list[np.ndarray]:
    """Returns forty background images with a brightness gradient and camera noise."""
    rng = np.random.default_rng(0)
    slope = np.linspace(-1, 1, 300)[:, None, None]
    fields = []
    for _ in range(40):
        light = rng.uniform(190, 245, 3) + rng.uniform(0, 15) * slope
        fields.append(np.clip(light + rng.normal(0, 3, (300, 300, 3)), 0, 255).astype(np.uint8))
    return fields


def noise() -> list[np.ndarray]:
    """Returns forty images of uniform noise."""
    return [np.random.default_rng(seed).integers(0, 256, (300, 300, 3), np.uint8) for seed in range(40)]


def halves(files: Sequence[Path]) -> list[np.ndarray]:
    """Returns the right halves of up to forty cells."""
    images = [np.asarray(read_image(file)) for file in files[:: max(1, len(files) // 40)]]
    return [image[:, image.shape[1] // 2 :] for image in images]


if __name__ == "__main__":
    main()
