"""Time from image files to embeddings on disk: python benchmarks/embedding.py [CELLS].

- original: batch size 1, float32, transformers' eager attention, LoRA unmerged;
- bc_sam: `BCSam.embed`;
- bc_sam, compiled: the same after `BCSam.compile`, as in jobs of many thousand images;
- bc_sam, from decoded images: as `BCSam.embed`, from pixels in memory;
- reading only: decoding of the files, which `BCSam.embed` overlaps with the encoder;
- matrix products only: the encoder's matrix products on tensors in memory, in bc_sam's dtype.

With ``--peers`` ViT-B is compared with other programs and runtimes too, see ``peers.py``. With ``--cpu`` CPU time is
measured, which depends less on what else the machine does; set OMP_NUM_THREADS=1 then, as waiting threads use it too.

CELLS is a folder of images; by default 64 rendered cells, half JPEG, half TIFF. Pass the peak of your device, from its
data sheet, to get its utilization.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from models import random_model, with_library_attention
from peers import peers
from PIL import Image
from timing import alternate, machine, print_table, ratio, spread
from torch.utils.flop_counter import FlopCounterMode

from bc_sam import BCSam, load_rendered
from bc_sam.data.batches import decoded_batches
from bc_sam.data.images import find_images
from bc_sam.data.preparation import Preparation
from bc_sam.models.observation import Parts
from bc_sam.networks.features import default_batch_size, encode_pixels
from bc_sam.networks.sam.encoding import encode, normalise


def main() -> None:
    """Times the variants and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="?", type=Path, help="folder of images; rendered ones by default")
    parser.add_argument("--base", choices=("vit-b", "tiny"), default="vit-b", help="with random weights")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", type=float, help="peak of the device at this precision, TFLOP/s")
    parser.add_argument("--peers", action="store_true", help="compare ViT-B with other programs and runtimes")
    parser.add_argument("--cpu", action="store_true", help="measure CPU time")
    options = parser.parse_args()
    model, compiled, plain = (random_model(options.base, precision) for precision in ("auto", "auto", "no"))
    size = options.batch_size or default_batch_size(model.device)
    compiled.compile(size)
    with tempfile.TemporaryDirectory() as folder:
        files = choose_files(options.cells or write_cells(Path(folder, "cells"), options.images), options.images)
        out = Path(folder, "latents.npy")
        batches = [batch.pixels for batch in decoded_batches(files, Preparation(224), size)]
        variants = {
            "original": lambda: np.save(out, embed_as_original(plain, files)),
            "bc_sam": lambda: np.save(out, model.embed(files, batch_size=size)),
            "bc_sam, compiled": lambda: np.save(out, compiled.embed(files, batch_size=size)),
            "bc_sam, from decoded images": lambda: np.save(out, embed_decoded(model, batches)),
            "reading only": lambda: read_only(files, size),
            "matrix products only": lambda: multiply_only(model, len(files), size),
        }
        if options.peers:
            others = peers(plain, files, size, Path(folder, "peers"))
            print_differences(plain.embed(files), {"bc_sam": lambda: model.embed(files)} | others)
            variants |= others
        clock = time.process_time if options.cpu else time.perf_counter
        seconds = alternate(variants, options.rounds, clock=clock)
    suffixes = ", ".join(sorted({file.suffix for file in files}))
    dtype = next(model.sam.vision_encoder.parameters()).dtype
    encoder = count_tflops(lambda: encode_pixels(model.sam, model.config, np.zeros((1, 224, 224, 3), np.uint8)))
    tflop = {name: encoder * (not name.startswith("timm")) for name in variants}
    tflop |= {"reading only": 0.0, "matrix products only": count_tflops(lambda: multiply_only(model, 1, 1))}
    print(
        f"{len(files)} files ({suffixes}), base {options.base}, batch size {size}, {dtype}, {1000 * encoder:.1f} "
        f"GFLOP per image. {machine()}"
    )
    rates = {name: len(files) / statistics.median(values) for name, values in seconds.items()}
    print_table(
        (
            "",
            "ms per image, median (range)",
            "images per second",
            "TFLOP/s",
            *(["of the peak"] if options.peak else []),
            "speed-up",
            "relative to the matrix products",
        ),
        (
            (
                name,
                spread(values, len(files) / 1000),
                f"{rates[name]:.1f}",
                *rate_columns(rates[name] * tflop[name], options.peak),
                ratio(seconds["original"], values),
                ratio(values, seconds["matrix products only"]),
            )
            for name, values in seconds.items()
        ),
    )


def print_differences(expected: np.ndarray, variants: Mapping[str, Callable[[], np.ndarray]]) -> None:
    """Prints by how much the embeddings of bc_sam differ from those in float32, relative to their norm."""
    for name, embed in variants.items():
        if name.startswith("bc_sam"):
            difference = np.linalg.norm(embed() - expected, axis=1) / np.linalg.norm(expected, axis=1)
            print(f"{name}: embeddings differ from float32 by {np.median(difference):.2%} in the median.")


def rate_columns(rate: float, peak: float | None) -> list[str]:
    """Returns the columns for TFLOP/s and, if the peak is given, utilization; empty if nothing is computed."""
    columns = [f"{rate:.2f}", *([f"{rate / peak:.0%}"] if peak else [])]
    return columns if rate else [""] * len(columns)


def count_tflops(compute: Callable[[], object]) -> float:
    """Returns the number of floating-point operations of a call, as counted by PyTorch, in TFLOP."""
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops() / 1e12


def write_cells(folder: Path, n: int) -> Path:
    """Writes rendered cells of 400 px, alternating JPEG and TIFF with an alpha channel."""
    folder.mkdir()
    cells = load_rendered("munich", cells_per_class=-(-n // 13))
    for index, image in enumerate(cells["image"][:n]):
        larger = image.resize((400, 400))
        if index % 2:
            larger.save(folder / f"{index}.jpg", quality=95)
        else:
            larger.convert("RGBA").save(folder / f"{index}.tiff")
    return folder


def choose_files(folder: Path, n: int) -> list[Path]:
    """Returns at most n evenly spaced images of a folder."""
    files = find_images(folder)
    return [files[i] for i in np.linspace(0, len(files) - 1, min(n, len(files))).astype(int)]


@torch.inference_mode()
def embed_as_original(model: BCSam, files: Sequence[Path]) -> np.ndarray:
    """Embeds one image at a time with the unmerged adapter."""
    sam = with_library_attention(model.adapter, eager=True).to(model.device)
    latents = []
    for file in files:
        image = np.array(Image.open(file).convert("RGB").resize((224, 224)))
        pixels = torch.tensor(image[None], device=model.device)
        features = encode(sam, normalise(pixels, model.config.image_mean, model.config.image_std))
        latents.append(model.autoencoder.encode(features).cpu().numpy())
    return np.concatenate(latents)


def embed_decoded(model: BCSam, batches: Sequence[np.ndarray]) -> np.ndarray:
    """Embeds batches of pixels (B, 224, 224, 3) uint8."""
    return np.concatenate([model.observe(pixels, Parts.EMBEDDINGS).embeddings for pixels in batches])


def read_only(files: Sequence[Path], batch_size: int) -> None:
    """Decodes the files as `BCSam.embed` does."""
    for _ in decoded_batches(files, Preparation(224), batch_size):
        pass


@torch.inference_mode()
def multiply_only(model: BCSam, n: int, batch_size: int) -> None:
    """Computes the matrix products of the encoder's blocks for n images, on preallocated inputs."""
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
