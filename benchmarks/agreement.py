"""Do bfloat16, ONNX Runtime and OpenVINO give the answers of float32 on torch?

``python benchmarks/agreement.py MODEL --data ours=CELLS [--against bfloat16 onnx openvino]``: classifies the cells of
each laboratory with all of them, and compares labels, the largest change of a probability, and accuracy. Kinds that a
laboratory does not distinguish are merged.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from timing import machine

from bc_sam import BCSam
from bc_sam.cli.options import read_pairs
from bc_sam.data import load_cells
from bc_sam.evaluation.merging import merge_columns, merge_indices, merged_labels
from bc_sam.models.base import CellModel
from bc_sam.models.observation import Parts

_LOADING: dict[str, dict[str, Any]] = {
    "bfloat16": {"dtype": "bfloat16", "device": "cpu"},
    "onnx": {"backend": "onnx"},
    "openvino": {"backend": "openvino"},
}


@dataclass(frozen=True)
class Answers:
    """What a model says of the cells of a laboratory.

    Attributes:
        embeddings: (n, d).
        probabilities: (n, n_labels) of each classifier.
    """

    embeddings: np.ndarray
    probabilities: dict[str, np.ndarray]


def main() -> None:
    """Prints a row per laboratory, kind of computation and classifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", action="append", required=True, metavar="NAME=SOURCE", help="a laboratory")
    parser.add_argument("--map", action="append", metavar="FOLDER=CLASS", help="class of the images in FOLDER")
    parser.add_argument("--against", nargs="+", choices=tuple(_LOADING), default=tuple(_LOADING))
    parser.add_argument("--classifiers", nargs="+", help="by default all that the model has")
    options = parser.parse_args()
    chosen = {"classifiers": options.classifiers}
    models = {"float32": BCSam.from_pretrained(options.model, dtype="float32", device="cpu", **chosen)}
    for name in options.against:
        models[name] = BCSam.from_pretrained(options.model, **chosen, **_LOADING[name])
    print(f"Against float32 on torch. {machine()}\n")
    columns = ("laboratory", "cells", "computed by", "embeddings differ by", "classifier", "same label")
    columns += ("probability changes by, median", "99 %", "accuracy, %", "of float32")
    print(f"| {' | '.join(columns)} |\n|{'--|' * len(columns)}")
    for spec in options.data:
        for row in compare(models, spec, read_pairs(options.map)):
            print(f"| {' | '.join(map(str, row))} |", flush=True)


def compare(models: dict[str, CellModel], spec: str, label_map: dict[str, str | None]) -> Iterator[tuple[object, ...]]:
    """Yields the rows of a laboratory."""
    from datasets import Image

    name, _, source = spec.partition("=")
    present = {folder: label for folder, label in label_map.items() if (Path(source) / folder).is_dir()}
    cells = load_cells(spec, label_map=present or None).cast_column("image", Image(decode=False))
    true = np.array([-1 if label is None else label for label in cells["label"]])
    answers = answer(models, list(cells["image"]))
    reference = answers.pop("float32")
    scale = np.linalg.norm(reference.embeddings, axis=1)
    for computed, given in answers.items():
        change = np.median(np.linalg.norm(given.embeddings - reference.embeddings, axis=1) / scale)
        for classifier in given.probabilities:
            ours, theirs = reference.probabilities[classifier], given.probabilities[classifier]
            moved = np.abs(ours - theirs).max(axis=1)
            same = (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()
            accuracies = [accuracy(models["float32"], classifier, true, found) for found in (theirs, ours)]
            yield (
                *(name, len(true), computed, f"{change:.2%}", classifier, f"{same:.2%}"),
                *(
                    f"{np.median(moved):.1g}",
                    f"{np.quantile(moved, 0.99):.2g}",
                    *(f"{value:.2f}" for value in accuracies),
                ),
            )


def answer(models: dict[str, CellModel], images: list[Any]) -> dict[str, Answers]:
    """Returns the answers of all models on the same pixels."""
    parts = Parts.EMBEDDINGS | Parts.PROBABILITIES
    seen: dict[str, list[Any]] = {name: [] for name in models}
    for batch in models["float32"].batches(images):
        for name, model in models.items():
            seen[name].append(model.observe(batch.pixels, parts))
    return {
        name: Answers(
            np.concatenate([one.embeddings for one in observed]),
            {
                classifier: np.concatenate([one.probabilities[classifier] for one in observed if len(one.pixels)])
                for classifier in models[name].classifiers
            },
        )
        for name, observed in seen.items()
    }


def accuracy(model: CellModel, classifier: str, true: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the accuracy on the cells with a label, percent."""
    known = true >= 0
    merged = merged_labels(model.classifiers[classifier].classes, true[known], model.labels)
    found = merge_columns(probabilities[known], merged).argmax(axis=1)
    return float(100 * (found == merge_indices(true[known], merged)).mean())


if __name__ == "__main__":
    main()
