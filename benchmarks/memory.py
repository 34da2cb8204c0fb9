"""Peak memory of each step for few and for many cells: python benchmarks/memory.py.

Renders cells, writes the requested number of distinct image files, and runs every step in its own process: decoding,
features, training of the autoencoder, embedding of files. The base is `tiny`.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from models import random_model, random_sam
from PIL import Image
from timing import machine, print_table

from bc_sam import TrainingArguments, load_folder, load_rendered, preset
from bc_sam.config.labels import LABELS
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore, store_cells
from bc_sam.networks.autoencoder import new_autoencoder
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.networks.features import extract_features, inference_sam
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.engine.loop import train as fit_step
from bc_sam.training.steps.train_autoencoder import AutoencoderStep


def main() -> None:
    """Runs the steps and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[1_000, 20_000])
    options = parser.parse_args()
    steps: dict[str, Callable[[Path], None]] = {
        "decoding": decode,
        "features": extract,
        "stage 2, one epoch": train,
        "embedding of files": embed,
    }
    peaks: dict[str, list[str]] = {name: [] for name in steps}
    with tempfile.TemporaryDirectory() as folder:
        for n in options.cells:
            work = Path(folder, str(n))
            write_cells(work / "cells", n)
            for name, step in steps.items():
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                    mib, seconds = pool.submit(measure, step, work).result()
                peaks[name].append(f"{mib:.0f} ({1000 * seconds / n:.1f})")
    print(f"Peak memory of the process in MiB (ms per cell). {machine()}")
    print_table(("step", *(f"{n:,} cells" for n in options.cells)), ((name, *texts) for name, texts in peaks.items()))


def measure(step: Callable[[Path], None], work: Path) -> tuple[float, float]:
    """Returns the peak memory in MiB, including memory-mapped pages, and the seconds."""
    start = time.perf_counter()
    step(work)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, time.perf_counter() - start


def write_cells(folder: Path, n: int) -> None:
    """Writes n distinct JPEG files: a few rendered cells, each shifted by a different offset."""
    rendered = [(LABELS[c["label"]], np.asarray(c["image"])) for c in load_rendered("munich", cells_per_class=4)]
    for index in range(n):
        label, pixels = rendered[index % len(rendered)]
        path = folder / label / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        down, right = divmod(index // len(rendered), 30)
        Image.fromarray(np.roll(pixels, (down, right), axis=(0, 1))).save(path, quality=92)


def decode(work: Path) -> None:
    """Decodes every file to pixels on disk."""
    store_cells([load_folder(work / "cells", domain="cells")], work / "store")


def extract(work: Path) -> None:
    """Computes the features of every cell on disk."""
    accelerator, precision = start_accelerator(TrainingArguments(), work)
    sam = inference_sam(random_sam("tiny"), accelerator.device, precision)
    extract_features(
        sam,
        BCSamConfig(feature_channels=256),
        CellStore.open(work / "store"),
        work / "features",
        accelerator=accelerator,
    )


def train(work: Path) -> None:
    """One epoch of the autoencoder."""
    accelerator, _ = start_accelerator(TrainingArguments(), work)
    cells, arguments = CellStore.open(work / "store"), preset("tiny").autoencoder
    features = FeatureStore(work / "features", cells.digests)
    model = new_autoencoder(256, 50, arguments.decoder_channels, seed=0)
    rows, seed = np.arange(len(cells)), 1234
    step = AutoencoderStep(model, features, rows, rows[:0], cells, arguments, n_labels=0, seed=seed)
    fit_step(step, replace(arguments, epochs=1).schedule(), accelerator, seed)


def embed(work: Path) -> None:
    """Embeds every file."""
    model = random_model("tiny", "auto")
    files = sorted((work / "cells").rglob("*.jpg"))
    model.embed(files)


if __name__ == "__main__":
    main()
