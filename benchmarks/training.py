"""Training steps of stages 1 and 2, compared with a plain implementation: python benchmarks/training.py.

The plain implementation uses float32; in stage 1 transformers' eager attention; in stage 2 PyTorch's transposed
convolutions, a depthwise convolution for SSIM, and targets that are cropped again in each step.
"""

import argparse
import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from models import random_pixels, random_sam, with_library_attention
from timing import alternate, machine, print_table, ratio, spread
from torch import nn
from torch.nn import functional as F

from bc_sam.config.base import PAPER_DECODER_CHANNELS
from bc_sam.data.cell_crop import cell_target
from bc_sam.networks.autoencoder import PhasedConvTranspose2d, new_autoencoder
from bc_sam.networks.precision import dtype_of
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.networks.sam.lora import add_lora
from bc_sam.training.steps.losses import autoencoder_loss, linear_mmd, segmentation_loss
from bc_sam.training.steps.train_segmentation import CellSegmenter
from bc_sam.utils.malloc import reuse_freed_memory

#: The optimizer of a model, and a function that computes the loss of a step.
Step = tuple[torch.optim.Optimizer, Callable[[], torch.Tensor]]
_step: Step


def main() -> None:
    """Times both stages and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=("vit-b", "tiny"), default="vit-b", help="with random weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--masks", type=int, default=32, help="batch size of stage 1")
    parser.add_argument("--cells", type=int, default=128, help="batch size of stage 2")
    options = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    for stage, prepare, n in (
        ("1: masks", segmentation_step, options.masks),
        ("2: autoencoder", autoencoder_step, options.cells),
    ):
        rows += time_stage(stage, prepare, options.base, n, options.rounds)
    print(f"Base {options.base}; {options.masks} images and {options.cells} cells per step. {machine()}")
    print_table(("step", "ms per cell, median (range)", "speed-up", "losses by step", "peak memory, MiB"), rows)


def time_stage(stage: str, prepare: Callable[..., Step], base: str, n: int, rounds: int) -> list[tuple[str, ...]]:
    """Interleaves steps of both implementations, each in its own process, since they manage memory differently."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(ProcessPoolExecutor(1, context, start_process, (prepare, base, n, plain)))
            for name, plain in (("plain", True), ("bc_sam", False))
        }
        losses: dict[str, list[float]] = {name: [] for name in pools}

        def run(name: str) -> None:
            losses[name].append(pools[name].submit(run_step).result())

        seconds = alternate({name: partial(run, name) for name in pools}, rounds)
        peaks = {name: pool.submit(peak_memory).result() for name, pool in pools.items()}
    return [
        (
            f"{stage}, {name}",
            spread(seconds[name], n / 1000),
            ratio(seconds["plain"], seconds[name]),
            " ".join(f"{loss:.4f}" for loss in losses[name]),
            f"{peaks[name]:,.0f}",
        )
        for name in pools
    ]


def start_process(prepare: Callable[..., Step], base: str, n: int, plain: bool) -> None:
    """Prepares the step that this process runs."""
    global _step
    if not plain and not torch.cuda.is_available():
        reuse_freed_memory(large_blocks=True)  # as in bc_sam's start_accelerator
    _step = prepare(base, n, plain)


def run_step() -> float:
    """Runs a training step and returns its loss."""
    optimizer, loss_of = _step
    loss = loss_of()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def peak_memory() -> float:
    """Returns the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def in_half(model: nn.Module, device: torch.device) -> nn.Module:
    """Enables autocast to half precision where the device is fast at it, as Accelerate does."""
    half = dtype_of("auto", device)
    model.forward = torch.autocast(device.type, dtype=half, enabled=half != torch.float32)(model.forward)
    return model


def segmentation_step(base: str, n: int, plain: bool) -> Step:
    """Returns a step of stage 1 with fixed weights and images."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.randn(n, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    masks = (torch.rand(n, 56, 56, generator=torch.Generator().manual_seed(0)) > 0.5).float().to(device)
    adapter = add_lora(random_sam(base), 4)
    if plain:
        with_library_attention(adapter, eager=True)
    model = CellSegmenter(adapter).train().to(device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    if not plain:
        in_half(model, device)
    return optimizer, lambda: segmentation_loss(model(images).float(), masks)


def autoencoder_step(base: str, n: int, plain: bool) -> Step:
    """Returns a step of stage 2 with fixed weights, features and cells."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = feature_shape(random_sam(base))
    maps = torch.randn(n, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    domains = torch.arange(n, device=device) % 2
    pixels = random_pixels(n)
    mask = np.hypot(*np.mgrid[-112:112, -112:112]) < 60

    def targets() -> torch.Tensor:
        cells = np.stack([cell_target(image, mask) for image in pixels])
        return torch.tensor(cells, device=device).permute(0, 3, 1, 2).float() / 255

    stored = targets()
    model = new_autoencoder(shape[0], 50, PAPER_DECODER_CHANNELS, seed=0).train().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    if plain:
        model.decoder = nn.Sequential(*map(with_library_convolution, model.decoder))
    else:
        in_half(model.to(memory_format=torch.channels_last), device)

    def loss() -> torch.Tensor:
        target = targets() if plain else stored
        latents, cells = (output.float() for output in model(maps))
        if plain:
            return 1 - depthwise_ssim(cells, target) + 5 * linear_mmd(latents, domains)
        return autoencoder_loss(cells, target, latents, domains)

    return optimizer, loss


def with_library_convolution(layer: nn.Module) -> nn.Module:
    """Returns a layer of the decoder, with PyTorch's own transposed convolution on the same weights."""
    if not isinstance(layer, PhasedConvTranspose2d):
        return layer
    with torch.device("meta"):
        plain = nn.ConvTranspose2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride)
    plain.weight, plain.bias = layer.weight, layer.bias
    return plain


def depthwise_ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Returns SSIM computed with depthwise convolutions, as in common implementations."""
    offsets = torch.arange(11, device=a.device) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    line = line / line.sum()
    kernel = (line[:, None] * line).expand(3, 1, 11, 11).contiguous()

    def blur(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, kernel, padding=5, groups=3)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    ssim = ((2 * mean_a * mean_b + c1) * (2 * cov + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return ssim.mean()


if __name__ == "__main__":
    main()
