"""Time to fit every classifier on 17,000 embeddings, and to predict: python benchmarks/classifiers.py."""

import argparse
import time

import numpy as np
from timing import machine, print_table

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.kinds import KINDS
from bc_sam.config.labels import LABELS


def main() -> None:
    """Times all classifiers on synthetic embeddings and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=17_000)
    parser.add_argument("--predict", type=int, default=1_000_000)
    options = parser.parse_args()
    latents, labels = sample(options.cells, seed=0)
    test_latents, _ = sample(options.predict, seed=1)
    rows = []
    for name in KINDS:
        start = time.perf_counter()
        classifier = LatentClassifier.fit(name, latents, labels, len(LABELS))
        fitted = time.perf_counter()
        classifier.predict_proba(test_latents)
        rows.append((name, f"{fitted - start:.1f}", f"{time.perf_counter() - fitted:.1f}"))
    print(machine())
    columns = f"fit, {options.cells:,} cells, s", f"predict, {options.predict:,} cells, s"
    print_table(("classifier", *columns), rows)


def sample(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns non-negative latents (n, 50) of 13 overlapping classes, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(LABELS), n)
    centres = np.random.default_rng(7).standard_normal((len(LABELS), 50))
    noise = rng.standard_normal((n, 50))
    return np.maximum(centres[labels] + 1.5 * noise, 0).astype(np.float32), labels


if __name__ == "__main__":
    main()
