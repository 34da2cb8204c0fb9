"""Agreement with float32 on torch: python benchmarks/agreement.py MODEL CELLS... [--against onnx].

Classifies the same cells in float32 and in bfloat16, or with ONNX Runtime, and compares embeddings, probabilities and
labels. Each of CELLS is taken to be of one laboratory. With ``--against onnx --dtype auto``, ONNX Runtime is compared
with torch in the data type that it chooses for this machine.
"""

import argparse
from collections.abc import Iterable

import numpy as np
from timing import machine, print_table

from bc_sam import BCSam
from bc_sam.data.inputs import find_cells
from bc_sam.models.observation import Observation, Parts


def main() -> None:
    """Prints a row per classifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("cells", nargs="+")
    parser.add_argument("--against", choices=("bfloat16", "onnx"), default="bfloat16")
    parser.add_argument("--dtype", default="float32", help="data type of torch")
    parser.add_argument("--classifiers", nargs="+", help="by default all")
    options = parser.parse_args()
    first = BCSam.from_pretrained(options.model, dtype=options.dtype, classifiers=options.classifiers)
    if options.against == "onnx":
        second = BCSam.from_pretrained(options.model, backend="onnx", classifiers=options.classifiers)
    else:
        second = BCSam.from_pretrained(options.model, dtype=options.against, classifiers=options.classifiers)
    pairs = [
        tuple(model.observe(batch.pixels, Parts.EMBEDDINGS | Parts.PROBABILITIES) for model in (first, second))
        for source in options.cells
        for batch in first.batches(find_cells([source]).images)
    ]
    ours, theirs = (joined(observations) for observations in zip(*pairs, strict=True))
    rows = []
    for name in first.classifiers:
        change = np.abs(ours[name] - theirs[name]).max(axis=1)
        same = (ours[name].argmax(axis=1) == theirs[name].argmax(axis=1)).mean()
        rows.append((name, f"{same:.2%}", f"{np.median(change):.2g}", f"{np.quantile(change, 0.99):.2g}"))
    difference = np.linalg.norm(ours["embeddings"] - theirs["embeddings"]) / np.linalg.norm(ours["embeddings"])
    print(
        f"{len(ours['embeddings'])} cells, torch in {first.dtype} and {options.against}; embeddings differ by "
        f"{difference:.2g} of their norm. {machine()}"
    )
    print_table(("classifier", "same label", "probability difference, median", "99th percentile"), rows)


def joined(observations: Iterable[Observation]) -> dict[str, np.ndarray]:
    """Returns the embeddings (n, d) of all batches, and the probabilities (n, n_labels) by classifier."""
    arrays = [{"embeddings": seen.embeddings, **seen.probabilities} for seen in observations if len(seen.pixels)]
    return {name: np.concatenate([parts[name] for parts in arrays]) for name in arrays[0]}


if __name__ == "__main__":
    main()
