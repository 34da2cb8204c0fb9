"""How well white cells are found in fields of laboratories never seen: python benchmarks/rendered_fields.py --help.

A field is a mosaic of twelve rendered cells of one random laboratory, one of each class but smudge cells, with the red
cells around them. Each laboratory has a stain, a magnification and a camera of its own. Cells are found if their box
and that of the rendered cell share half of their union.
"""

import argparse
from collections import defaultdict

import numpy as np
from fields import iou
from timing import machine, print_table

from bc_sam.config.labels import LABELS
from bc_sam.data.datasets.box_crops import Box
from bc_sam.data.datasets.rendered import render_cell
from bc_sam.data.rendering.laboratory import any_laboratory
from bc_sam.models.auto import load_model
from bc_sam.utils.model_source import EMBEDDED_MODEL

COLUMNS = 4
KINDS = [label for label in LABELS if label != "smudge_cell"]

#: Rendered cells that bc-sam-tiny learned from have other seeds.
SEED = 20_000


def main() -> None:
    """Finds the cells of all fields and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=EMBEDDED_MODEL)
    parser.add_argument("--laboratories", type=int, default=30)
    parser.add_argument("--size", type=int, default=224, help="side of the part of a field around one cell, pixels")
    options = parser.parse_args()
    model = load_model(options.model)
    found_by_kind, problems, n_found, n_correct = defaultdict(list), [], 0, 0
    for number in range(options.laboratories):
        field, boxes = render_field(SEED + number, options.size)
        cells = model.find_cells(field)
        if cells.problem:
            problems.append(cells.problem)
        found = [cell.box for cell in cells.cells]
        hits = [any(iou(box, other) >= 0.5 for other in found) for box in boxes]
        for kind, hit in zip(KINDS, hits, strict=True):
            found_by_kind[kind].append(hit)
        n_found, n_correct = n_found + len(found), n_correct + sum(hits)
    n_cells = sum(map(len, found_by_kind.values()))
    rows = [
        ("recall, intersection over union 0.5", f"{n_correct / n_cells:.3f} ({n_correct} of {n_cells})"),
        ("precision", f"{n_correct / max(n_found, 1):.3f} ({n_correct} of {n_found})"),
        ("fields that were refused", f"{len(problems)} of {options.laboratories}"),
    ]
    rows += [(f"recall of {kind}", f"{np.mean(hits):.2f}") for kind, hits in found_by_kind.items()]
    print(f"{machine()}; {options.laboratories} laboratories, seeds from {SEED}, {options.size} px")
    print_table(("measure", "value"), rows)
    print("\n".join(sorted(set(problems))))


def render_field(seed: int, size: int) -> tuple[np.ndarray, list[Box]]:
    """Returns a field of a random laboratory, uint8 (H, W, 3), and the box of each cell, in the order of `KINDS`."""
    rng = np.random.default_rng(seed)
    laboratory = any_laboratory(rng)
    rendered = [render_cell(kind, laboratory, rng, size) for kind in KINDS]
    rows = [np.hstack([image for image, _ in rendered[i : i + COLUMNS]]) for i in range(0, len(KINDS), COLUMNS)]
    return np.vstack(rows), [_box(mask, i, size) for i, (_, mask) in enumerate(rendered)]


def _box(mask: np.ndarray, number: int, size: int) -> Box:
    ys, xs = np.nonzero(mask)
    top, left = size * (number // COLUMNS), size * (number % COLUMNS)
    return (left + int(xs.min()), top + int(ys.min()), left + int(xs.max()) + 1, top + int(ys.max()) + 1)


if __name__ == "__main__":
    main()
