"""From image files to latents on disk, in several ways: python benchmarks/embedding.py [CELLS].

- original: one image at a time, float32, the library's eager attention, LoRA beside the weights;
- bc_sam: `BCSam.embed`;
- bc_sam, compiled: the same after `BCSam.compile`, as jobs of many thousand images have it;
- bc_sam, of decoded images: the same as `BCSam.embed`, of pixels that are in memory;
- reading alone: files to pixels and nothing else, which `BCSam.embed` does beside the encoder;
- products alone: the encoder's matrix products and nothing else, on numbers in memory, in bc_sam's number format.

CELLS is a folder of images; by default 64 rendered cells, half of them JPEG, half TIFF. Give the peak of your device,
from its data sheet, to see what share of it is used.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from models import random_model, with_library_attention
from PIL import Image
from timing import alternate, machine, print_table, ratio, spread
from torch.utils.flop_counter import FlopCounterMode

from bc_sam import BCSam, load_rendered
from bc_sam.data.batches import decoded_batches
from bc_sam.data.images import find_images
from bc_sam.models.observation import Parts
from bc_sam.networks.features import default_batch_size, encode_pixels
from bc_sam.networks.sam.encoding import encode, normalise


def main() -> None:
    """Times the ways and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="?", type=Path, help="folder of images; rendered ones by default")
    parser.add_argument("--base", choices=("vit-b", "tiny"), default="vit-b", help="with random weights")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", type=float, help="peak of the device in this number format, TFLOP/s")
    options = parser.parse_args()
    model, compiled, plain = (random_model(options.base, precision) for precision in ("auto", "auto", "no"))
    size = options.batch_size or default_batch_size(model.device)
    compiled.compile(size)
    with tempfile.TemporaryDirectory() as folder:
        files = choose_files(options.cells or write_cells(Path(folder, "cells"), options.images), options.images)
        out = Path(folder, "latents.npy")
        batches = [batch.pixels for batch in decoded_batches(files, 224, size)]
        ways = {
            "original": lambda: np.save(out, embed_as_original(plain, files)),
            "bc_sam": lambda: np.save(out, model.embed(files, batch_size=size)),
            "bc_sam, compiled": lambda: np.save(out, compiled.embed(files, batch_size=size)),
            "bc_sam, of decoded images": lambda: np.save(out, embed_decoded(model, batches)),
            "reading alone": lambda: read_alone(files, size),
            "products alone": lambda: multiply_alone(model, len(files), size),
        }
        seconds = alternate(ways, options.rounds)
    kinds = ", ".join(sorted({file.suffix for file in files}))
    dtype = next(model.sam.vision_encoder.parameters()).dtype
    encoder = count_tflops(lambda: encode_pixels(model.sam, model.config, np.zeros((1, 224, 224, 3), np.uint8)))
    work = dict.fromkeys(ways, encoder)
    work |= {"reading alone": 0.0, "products alone": count_tflops(lambda: multiply_alone(model, 1, 1))}
    print(
        f"{len(files)} files ({kinds}), base {options.base}, batches of {size}, {dtype}, {1000 * encoder:.1f} GFLOP "
        f"an image. {machine()}"
    )
    rates = {name: len(files) / statistics.median(values) for name, values in seconds.items()}
    print_table(
        (
            "way",
            "ms an image, median (range)",
            "images a second",
            "TFLOP/s",
            *(["of the peak"] if options.peak else []),
            "times as fast as the original",
            "of the products'",
        ),
        (
            (
                name,
                spread(values, len(files) / 1000),
                f"{rates[name]:.1f}",
                *encoding_rate(rates[name] * work[name], options.peak),
                ratio(seconds["original"], values),
                ratio(values, seconds["products alone"]),
            )
            for name, values in seconds.items()
        ),
    )


def encoding_rate(rate: float, peak: float | None) -> list[str]:
    """The columns of TFLOP/s, and of their share of the peak where that is known; empty for what computes nothing."""
    known = [f"{rate:.2f}", *([f"{rate / peak:.0%}"] if peak else [])]
    return known if rate else [""] * len(known)


def count_tflops(compute: Callable[[], object]) -> float:
    """Operations of some work, as PyTorch counts them, in millions of millions."""
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops() / 1e12


def write_cells(folder: Path, n: int) -> Path:
    """Writes rendered cells, as JPEG and as TIFF with an alpha channel in turn, 400 pixels wide."""
    folder.mkdir()
    cells = load_rendered("munich", cells_per_class=-(-n // 13))
    for number, image in enumerate(cells["image"][:n]):
        larger = image.resize((400, 400))
        if number % 2:
            larger.save(folder / f"{number}.jpg", quality=95)
        else:
            larger.convert("RGBA").save(folder / f"{number}.tiff")
    return folder


def choose_files(folder: Path, n: int) -> list[Path]:
    """Picks images evenly from a folder."""
    files = find_images(folder)
    return [files[i] for i in np.linspace(0, len(files) - 1, min(n, len(files))).astype(int)]


@torch.inference_mode()
def embed_as_original(model: BCSam, files: Sequence[Path]) -> np.ndarray:
    """One image at a time through the adapter as it was trained."""
    sam = with_library_attention(model.adapter, eager=True).to(model.device)
    latents = []
    for file in files:
        image = np.array(Image.open(file).convert("RGB").resize((224, 224)))
        pixels = torch.tensor(image[None], device=model.device)
        features = encode(sam, normalise(pixels, model.config.image_mean, model.config.image_std))
        latents.append(model.autoencoder.encode(features).cpu().numpy())
    return np.concatenate(latents)


def embed_decoded(model: BCSam, batches: Sequence[np.ndarray]) -> np.ndarray:
    """Embeddings of pixels (B, 224, 224, 3) uint8."""
    return np.concatenate([model.observe(pixels, Parts.EMBEDDINGS).embeddings for pixels in batches])


def read_alone(files: Sequence[Path], batch_size: int) -> None:
    """Decodes the files as `BCSam.embed` does."""
    for _ in decoded_batches(files, 224, batch_size):
        pass


@torch.inference_mode()
def multiply_alone(model: BCSam, n: int, batch_size: int) -> None:
    """The matrix products of the encoder's blocks for n images, from and to memory that is there already."""
    blocks = model.sam.vision_encoder.layers
    weight = blocks[0].mlp.lin1.weight
    width, heads, tokens = weight.shape[1], blocks[0].attn.num_attention_heads, 196
    hidden = torch.randn(batch_size * tokens, width).to(weight)
    wide = torch.randn(batch_size * tokens, 4 * width).to(weight)
    query = torch.randn(batch_size * heads, tokens, width // heads).to(weight)
    for _ in range(n // batch_size):
        for block in blocks:
            for layer in (block.attn.qkv, block.attn.proj, block.mlp.lin1):
                torch.mm(hidden, layer.weight.T)
            torch.mm(wide, block.mlp.lin2.weight.T)
            torch.bmm(torch.bmm(query, query.transpose(1, 2)), query)


if __name__ == "__main__":
    main()
