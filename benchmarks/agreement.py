"""Agreement of bfloat16 with float32: python benchmarks/agreement.py MODEL CELLS...

Classifies the same cells in float32 and in bfloat16, and compares embeddings, probabilities and labels.
"""

import argparse

import numpy as np
from timing import machine, print_table

from bc_sam import BCSam
from bc_sam.data.inputs import find_cells


def main() -> None:
    """Prints a row per classifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("cells", nargs="+")
    options = parser.parse_args()
    files = list(find_cells(options.cells).images)
    full, half = (BCSam.from_pretrained(options.model, dtype=dtype) for dtype in ("float32", "bfloat16"))
    embeddings = [model.embed(files, show_progress_bar=True) for model in (full, half)]
    difference = np.linalg.norm(embeddings[0] - embeddings[1]) / np.linalg.norm(embeddings[0])
    rows = []
    for name, classifier in full.classifiers.items():
        first, second = (classifier.predict_proba(values) for values in embeddings)
        change = np.abs(first - second).max(axis=1)
        same = (first.argmax(axis=1) == second.argmax(axis=1)).mean()
        rows.append((name, f"{same:.2%}", f"{np.median(change):.4f}", f"{np.quantile(change, 0.99):.3f}"))
    print(f"{len(files)} cells; embeddings differ by {difference:.2%} of their norm. {machine()}")
    print_table(("classifier", "same label", "probability difference, median", "99th percentile"), rows)


if __name__ == "__main__":
    main()
