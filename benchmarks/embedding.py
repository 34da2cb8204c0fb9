"""From image files to latents on disk, three ways in turn: python benchmarks/embedding.py [CELLS].

- *original*: one image at a time, float32, the library's eager attention, LoRA beside the weights;
- *bc_sam*: `BCSam.embed`;
- *bc_sam, compiled*: the same with the encoder's blocks compiled, as long jobs have them;
- *products alone*: the encoder's matrix products and nothing else, in bc_sam's number format, from memory.

CELLS is a folder of images; by default 64 rendered cells, half of them JPEG, half TIFF. The base is SAM ViT-B with
random weights, whose speed is that of the trained one; `--base tiny` takes the small one.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from models import random_model
from peft import PeftModel
from PIL import Image
from timing import alternate, machine, print_table, ratio, spread
from torch import Tensor
from transformers import SamModel

from bc_sam import BCSam, load_rendered
from bc_sam.images import find_images
from bc_sam.sam.encoding import normalise


def main() -> None:
    """Times the ways and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="?", type=Path, help="folder of images; rendered ones by default")
    parser.add_argument("--base", choices=("vit-b", "tiny"), default="vit-b")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model, plain = random_model(options.base, dtype="auto"), random_model(options.base, dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        cells = options.cells or write_cells(Path(folder, "cells"), options.images)
        files = find_images(cells)
        files = [files[i] for i in np.linspace(0, len(files) - 1, min(options.images, len(files))).astype(int)]
        out = Path(folder, "latents.npy")
        baseline = Original(plain)
        size = options.batch_size or model.suggested_batch_size
        compiled = random_model(options.base, dtype="auto")
        compiled.compile(size)
        ways = {
            "original": lambda: np.save(out, baseline.embed(files)),
            "bc_sam": lambda: np.save(out, model.embed(files, batch_size=size)),
            "bc_sam, compiled": lambda: np.save(out, compiled.embed(files, batch_size=size)),
            "products alone": lambda: Products(model, size)(len(files)),
        }
        seconds = alternate(ways, options.rounds)
    kinds = ", ".join(sorted({file.suffix for file in files}))
    print(f"{len(files)} files ({kinds}), base {options.base}, batches of {size}, {model.dtype}. {machine()}")
    print_table(
        ("way", "ms an image, median (range)", "images a second", "times the original's speed", "of the products'"),
        (
            (
                name,
                spread(values, len(files) / 1000),
                f"{len(files) / statistics.median(values):.1f}",
                ratio(seconds["original"], values),
                ratio(values, seconds["products alone"]),
            )
            for name, values in seconds.items()
        ),
    )
