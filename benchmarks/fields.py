"""How well the cells of BCCD's fields are found: python benchmarks/fields.py FOLDER [--half report].

Fields are taken alternately for development and for the report. Cells are found if their box and an annotated one
share half of their union. A class is right if the most probable of the five classes of BCCD is the annotated one.

BCCD annotates about half of the red cells. `bccd_red_cells.csv` has the number of all red cells, those that the border
cuts off or that others cover in part included, in 12 fields of the first half and 16 of the second. They were counted
by eye in pictures that showed the circles found so far; in smears as crowded, two such counts differ by one or two.
"""

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from timing import machine, print_table

from bc_sam.data.datasets.box_crops import CROP_SIDE, Box, crop_cells
from bc_sam.models.auto import load_model
from bc_sam.models.base import CellModel
from bc_sam.models.fields import profile_fields
from bc_sam.models.found_cells import FieldCells
from bc_sam.utils.model_source import EMBEDDED_MODEL

CLASSES = {
    "neutrophil": "neutrophil_segmented",
    "lymphocyte": "lymphocyte_typical",
    "monocyte": "monocyte",
    "eosinophil": "eosinophil",
    "basophil": "basophil",
}
FIRST_HALF, SECOND_HALF = "development", "report"
EMPTY_SIDE, MARGIN = 240, 20
BY_EYE = Path(__file__).with_name("bccd_red_cells.csv")


@dataclass
class Annotation:
    """The annotated boxes of a field, and the class of each white cell, empty if unknown."""

    white: dict[Box, str] = field(default_factory=dict)
    red: list[Box] = field(default_factory=list)


def main() -> None:
    """Finds the cells of one half of the fields and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Folder with boxes.csv and fields.")
    parser.add_argument("--model", default=EMBEDDED_MODEL)
    parser.add_argument("--half", choices=(FIRST_HALF, SECOND_HALF, "both"), default=FIRST_HALF)
    parser.add_argument("--every", type=int, default=1, help="Take every n-th field of the half only.")
    options = parser.parse_args()
    annotated = read_boxes(options.folder / "boxes.csv")
    halves = {FIRST_HALF: slice(0, None, 2), SECOND_HALF: slice(1, None, 2), "both": slice(None)}
    names = sorted(annotated)[halves[options.half]][:: options.every]
    paths = [options.folder / "fields" / name for name in names]
    annotations = [annotated[name] for name in names]
    model = load_model(options.model).restrict_labels(list(CLASSES.values()))
    profile = profile_fields(paths)
    print(f"{machine()}; {len(paths)} fields; scale: {profile}")

    start = time.perf_counter()
    fields = [model.find_cells(path, red_cells=True, name=True, profile=profile) for path in paths]
    seconds = (time.perf_counter() - start) / len(paths)
    rows = white_cell_rows(fields, annotations, names) + red_cell_rows(fields, annotations, names)
    rows.append(("seconds per field, found and named", f"{seconds:.2f}"))
    rows += class_rows(model, fields, annotations, paths)
    rows.append(("finds in windows without a white cell", false_finds(model, annotations, paths)))
    print_table(("measure", "value"), rows)


def read_boxes(table: Path) -> dict[str, Annotation]:
    """Reads the annotations by field."""
    annotated: defaultdict[str, Annotation] = defaultdict(Annotation)
    with table.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            left, top, right, bottom = (int(row[edge]) for edge in ("xmin", "ymin", "xmax", "ymax"))
            of_field = annotated[row["field"]]
            if row["object"] == "WBC":
                of_field.white[left, top, right, bottom] = row["cell_class"]
            elif row["object"] == "RBC":
                of_field.red.append((left, top, right, bottom))
    return annotated


def iou(one: Box, other: Box) -> float:
    """Returns the intersection of two boxes over their union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return shared / (sum(areas) - shared)


def match(found: FieldCells, annotation: Annotation) -> dict[int, Box]:
    """Returns the annotated box of each found cell that has one, best overlap first."""
    pairs = [(iou(cell.box, box), index, box) for index, cell in enumerate(found.cells) for box in annotation.white]
    matched: dict[int, Box] = {}
    for overlap, index, box in sorted(pairs, reverse=True):
        if overlap >= 0.5 and index not in matched and box not in matched.values():
            matched[index] = box
    return matched


def white_cell_rows(
    fields: Sequence[FieldCells], annotations: Sequence[Annotation], names: Sequence[str]
) -> list[tuple[str, str]]:
    """Returns recall, precision and overlap of white cells; prints where they are not perfect."""
    n_matched = n_found = n_annotated = 0
    overlaps = []
    for found, annotation, name in zip(fields, annotations, names, strict=True):
        matched = match(found, annotation)
        missed, extra = len(annotation.white) - len(matched), len(found) - len(matched)
        if missed or extra or found.problem:
            print(f"{name}: {missed} missed, {extra} not annotated. {found.problem}".rstrip())
        overlaps += [iou(found.cells[index].box, box) for index, box in matched.items()]
        n_matched, n_found = n_matched + len(matched), n_found + len(found)
        n_annotated += len(annotation.white)
    return [
        ("recall of white cells", f"{n_matched / n_annotated:.3f} ({n_matched} of {n_annotated})"),
        ("precision of white cells", f"{n_matched / max(n_found, 1):.3f} ({n_matched} of {n_found})"),
        ("median intersection over union", f"{np.median(overlaps):.2f}"),
    ]


def red_cell_rows(
    fields: Sequence[FieldCells], annotations: Sequence[Annotation], names: Sequence[str]
) -> list[tuple[str, str]]:
    """Returns how many of the annotated red cells are found, and the error of their number as counted by eye."""
    n_found = n_annotated = 0
    for found, annotation in zip(fields, annotations, strict=True):
        overlaps = np.array([[iou(one, other) for other in found.red_cells or ()] for one in annotation.red])
        n_annotated += len(annotation.red)
        if overlaps.size:
            n_found += int((overlaps[linear_sum_assignment(-overlaps)] >= 0.5).sum())
    with BY_EYE.open(encoding="utf-8") as file:
        by_eye = {row["field"]: int(row["red_cells"]) for row in csv.DictReader(file)}
    pairs = [
        (len(cells.red_cells or ()), by_eye[name]) for cells, name in zip(fields, names, strict=True) if name in by_eye
    ]
    counted, true = np.array(pairs).T
    return [
        ("recall of annotated red cells", f"{n_found / n_annotated:.3f} ({n_found} of {n_annotated})"),
        (f"red cells counted, of {true.sum()} by eye in {len(true)} fields", f"{counted.sum() / true.sum():.2f}"),
        ("red cells, mean absolute error", f"{np.abs(counted - true).sum() / true.sum():.1%}"),
    ]


def class_rows(
    model: CellModel, fields: Sequence[FieldCells], annotations: Sequence[Annotation], paths: Sequence[Path]
) -> list[tuple[str, str]]:
    """Returns the accuracy of the names of found cells, and of the same cells cropped by their given boxes."""
    crops, truth, found_names = [], [], []
    for found, annotation, path in zip(fields, annotations, paths, strict=True):
        for index, box in match(found, annotation).items():
            prediction = found.cells[index].prediction
            if annotation.white[box] and prediction is not None:
                crops.append(crop_cells(path, [(box, CROP_SIDE)])[0])
                truth.append(CLASSES[annotation.white[box]])
                found_names.append(prediction.likeliest)
    start = time.perf_counter()
    given_names = model.predict(crops)
    seconds = (time.perf_counter() - start) / len(crops)
    rows = []
    for title, names in (("found cells", found_names), ("given boxes", given_names)):
        correct = np.array([name == true for name, true in zip(names, truth, strict=True)])
        recalls = [correct[np.array(truth) == label].mean() for label in sorted(set(truth))]
        rows.append((f"class accuracy, {title}", f"{correct.mean():.3f} (balanced {np.mean(recalls):.3f})"))
    return [*rows, ("seconds per cell, named in given crops", f"{seconds:.2f}")]


def false_finds(model: CellModel, annotations: Sequence[Annotation], paths: Sequence[Path]) -> str:
    """Searches a window beside the white cells of each field; the scale is that of the whole field."""
    from bc_sam.data.images import read_image

    profile = profile_fields(paths)
    n_windows = n_found = 0
    for annotation, path in zip(annotations, paths, strict=True):
        pixels = np.asarray(read_image(path))
        window = next((w for w in _windows(pixels.shape) if not any(_meet(w, box) for box in annotation.white)), None)
        if window is not None:
            left, top, right, bottom = window
            n_windows += 1
            cells = len(model.find_cells(pixels[top:bottom, left:right], profile=profile))
            n_found += cells
            if cells:
                print(f"{path.name}: {cells} found in the window {window} without an annotated white cell")
    return f"{n_found} in {n_windows}"


def _windows(shape: tuple[int, ...]) -> list[Box]:
    height, width = shape[:2]
    return [
        (left, top, left + EMPTY_SIDE, top + EMPTY_SIDE)
        for top in range(0, height - EMPTY_SIDE + 1, 60)
        for left in range(0, width - EMPTY_SIDE + 1, 80)
    ]


def _meet(window: Box, box: Box) -> bool:
    return (
        window[0] < box[2] + MARGIN
        and box[0] - MARGIN < window[2]
        and window[1] < box[3] + MARGIN
        and box[1] - MARGIN < window[3]
    )


if __name__ == "__main__":
    main()
