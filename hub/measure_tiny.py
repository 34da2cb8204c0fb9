"""Measures what a model's card does not: python hub/measure_tiny.py --help.

How well abstention tells cells from anything else, how long a cell takes on one core, and the peak memory.
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
    """Prints a table of abstention and a line of cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path, help="folder of cells of known classes, best of a laboratory never seen")
    parser.add_argument("--other", type=Path, nargs="*", default=[], help="folders of what is none of the classes")
    parser.add_argument("--model", default="bc-sam-tiny")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(options.model, device="cpu")
    files = find_images(options.cells)
    start = time.perf_counter()
    known = look(model, files)
    seconds = time.perf_counter() - start
    others: dict[str, Sequence[Any]] = {folder.name: find_images(folder) for folder in options.other}
    others |= {"empty field": empty_fields(), "noise": noise(), "half a cell": halves(files)}
    print(f"Abstention of {model.config.default_classifier}; {len(files)} cells of {options.cells.name}.\n")
    print("| | images | no name | AUROC, improbability | AUROC, OOD score |\n|:--|--:|--:|--:|--:|")
    print(f"| cells | {len(known)} | {rejected(model, known):.0%} | | |")
    for name, images in others.items():
        found = look(model, images)
        print(
            f"| {name} | {len(found)} | {rejected(model, found):.0%} | "
            f"{separation(improbability(model, known), improbability(model, found)):.3f} | "
            f"{separation(ood(known), ood(found)):.3f} |"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"\nOn one core, to look at a cell of a slide: {1000 * seconds / len(files):.0f} ms; peak {peak:.0f} MiB.")


def look(model: CellModel, images: Iterable[Any]) -> list[ObservedCell]:
    """What the model sees in those images that can be read."""
    return [cell.observed for cell in inspect_cells(model, images, batch_size=8) if cell.observed is not None]


def improbability(model: CellModel, found: Sequence[ObservedCell]) -> np.ndarray:
    """1 less the probability of the likeliest label, (n,)."""
    return np.array([1 - one.probabilities[model.config.default_classifier].max() for one in found])


def ood(found: Sequence[ObservedCell]) -> np.ndarray:
    """Out-of-distribution scores, (n,)."""
    return np.array([one.ood for one in found])


def rejected(model: CellModel, found: Sequence[ObservedCell]) -> float:
    """Share of the images that get no name under the default thresholds."""
    name = model.config.default_classifier
    decisions = [decide(one.probabilities[name], one.ood, image_reasons(one)) for one in found]
    return float(np.mean([one.abstain for one in decisions]))


def separation(cells: np.ndarray, others: np.ndarray) -> float:
    """Area under the curve: how often something else is doubted more than a cell, 0.5 is chance."""
    return float(roc_auc_score([0] * len(cells) + [1] * len(others), np.concatenate([cells, others])))


def empty_fields() -> list[np.ndarray]:
    """Forty pictures of background: light, with a slow change of it and a camera's noise."""
    random = np.random.default_rng(0)
    slope = np.linspace(-1, 1, 300)[:, None, None]
    fields = []
    for _ in range(40):
        light = random.uniform(190, 245, 3) + random.uniform(0, 15) * slope
        fields.append(np.clip(light + random.normal(0, 3, (300, 300, 3)), 0, 255).astype(np.uint8))
    return fields


def noise() -> list[np.ndarray]:
    """Forty pictures of nothing but noise."""
    return [np.random.default_rng(number).integers(0, 256, (300, 300, 3), np.uint8) for number in range(40)]


def halves(files: Sequence[Path]) -> list[np.ndarray]:
    """Up to forty cells of which the frame cuts half off."""
    cut = [np.asarray(read_image(file)) for file in files[:: max(1, len(files) // 40)]]
    return [image[:, image.shape[1] // 2 :] for image in cut]


if __name__ == "__main__":
    main()
