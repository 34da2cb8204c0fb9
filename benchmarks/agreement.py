"""What half precision changes: python benchmarks/agreement.py MODEL CELLS...

Names the same cells in float32 and in bfloat16, and compares latents, probabilities and labels.
"""

import argparse

import numpy as np
from timing import machine, print_table

from bc_sam import BCSam
from bc_sam.data.inputs import find_cells


def main() -> None:
    """Prints a row for each classifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("cells", nargs="+")
    options = parser.parse_args()
    files = list(find_cells(options.cells).images)
    full, half = (BCSam.from_pretrained(options.model, dtype=dtype) for dtype in ("float32", "bfloat16"))
    latents = [model.embed(files, show_progress_bar=True) for model in (full, half)]
    off = np.linalg.norm(latents[0] - latents[1]) / np.linalg.norm(latents[0])
    rows = []
    for name, classifier in full.classifiers.items():
        first, second = (classifier.predict_proba(each) for each in latents)
        change = np.abs(first - second).max(axis=1)
        same = (first.argmax(axis=1) == second.argmax(axis=1)).mean()
        rows.append((name, f"{same:.2%}", f"{np.median(change):.4f}", f"{np.quantile(change, 0.99):.3f}"))
    print(f"{len(files)} cells; latents differ by {off:.2%} of their norm. {machine()}")
    print_table(("classifier", "same label", "median change of a cell's probability", "99 of 100 below"), rows)


if __name__ == "__main__":
    main()
