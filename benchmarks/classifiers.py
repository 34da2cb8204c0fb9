"""Fitting every classifier on 17,000 latents, and predicting: python benchmarks/classifiers.py."""

import argparse
import time

import numpy as np
from timing import machine, print_table

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.kinds import KINDS
from bc_sam.config.labels import LABELS


def main() -> None:
    """Times all classifiers on made-up latents and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=17_000)
    parser.add_argument("--predict", type=int, default=1_000_000)
    options = parser.parse_args()
    latents, labels = draw(options.cells, seed=0)
    unseen, _ = draw(options.predict, seed=1)
    rows = []
    for name in KINDS:
        start = time.perf_counter()
        classifier = LatentClassifier.fit(name, latents, labels, len(LABELS))
        fitted = time.perf_counter()
        classifier.predict_proba(unseen)
        rows.append((name, f"{fitted - start:.1f}", f"{time.perf_counter() - fitted:.1f}"))
    print(f"{machine()}")
    cells = f"fitting {options.cells:,} cells, s", f"predicting {options.predict:,} cells, s"
    print_table(("classifier", *cells), rows)


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Latents (n, 50), not negative, of 13 classes that overlap, and their labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(LABELS), n)
    centres = np.random.default_rng(7).standard_normal((len(LABELS), 50))
    noise = random.standard_normal((n, 50))
    return np.maximum(centres[labels] + 1.5 * noise, 0).astype(np.float32), labels


if __name__ == "__main__":
    main()
