"""Steps of stages 1 and 2, ours beside the straightforward way: python benchmarks/training.py.

Straightforward is what one writes first: float32; in stage 1 the library's eager attention; in stage 2 the framework's
transposed convolutions, a depthwise convolution for SSIM, and targets cut out anew in each step.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from models import random_pixels, random_sam, with_library_attention
from timing import alternate, machine, print_table, ratio, spread
from torch import nn
from torch.nn import functional as F

from bc_sam.autoencoder import PhasedConvTranspose2d, new_autoencoder
from bc_sam.cell_crop import cell_target
from bc_sam.config import PAPER_DECODER_CHANNELS
from bc_sam.losses import autoencoder_loss, linear_mmd, segmentation_loss
from bc_sam.precision import dtype_of
from bc_sam.sam.encoding import feature_shape
from bc_sam.sam.lora import add_lora
from bc_sam.training.segmentation import CellSegmenter


def main() -> None:
    """Times both stages and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=("vit-b", "tiny"), default="vit-b", help="with random weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--masks", type=int, default=32, help="images in a step of stage 1")
    parser.add_argument("--cells", type=int, default=128, help="cells in a step of stage 2")
    options = parser.parse_args()
    sam = random_sam(options.base)
    rows = []
    for stage, ways, n in (
        ("1: masks", segmentation_steps(sam, options.masks), options.masks),
        ("2: autoencoder", autoencoder_steps(feature_shape(sam), options.cells), options.cells),
    ):
        losses: dict[str, list[float]] = {name: [] for name in ways}
        timed = {name: partial(record, step, losses[name]) for name, step in ways.items()}
        seconds = alternate(timed, options.rounds)
        first = next(iter(seconds.values()))
        for name, values in seconds.items():
            rows.append(
                (
                    f"{stage}, {name}",
                    spread(values, n / 1000),
                    ratio(first, values),
                    " ".join(f"{loss:.4f}" for loss in losses[name]),
                )
            )
    print(f"Base {options.base}; {options.masks} images and {options.cells} cells a step. {machine()}")
    print_table(("step", "ms a cell, median (range)", "times as fast", "losses, step by step"), rows)


def record(step: Callable[[], float], losses: list[float]) -> None:
    """Takes a step and notes its loss."""
    losses.append(step())


def segmentation_steps(sam: nn.Module, n: int) -> dict[str, Callable[[], float]]:
    """Steps of stage 1 from the same weights on the same images."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.randn(n, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    masks = (torch.rand(n, 56, 56, generator=torch.Generator().manual_seed(0)) > 0.5).float().to(device)
    half = dtype_of("auto", device)

    def steps(straightforward: bool) -> Callable[[], float]:
        adapter = add_lora(copy.deepcopy(sam), 4)
        if straightforward:
            with_library_attention(adapter, eager=True)
        model = CellSegmenter(adapter).train().to(device)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

        def step() -> float:
            with torch.autocast(device.type, dtype=half, enabled=not straightforward and half != torch.float32):
                logits = model(images)
            loss = segmentation_loss(logits.float(), masks)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.item()

        return step

    return {"straightforward": steps(True), "bc_sam": steps(False)}


def autoencoder_steps(shape: tuple[int, int, int], n: int) -> dict[str, Callable[[], float]]:
    """Steps of stage 2 from the same weights on the same features."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    maps = torch.randn(n, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    domains = torch.arange(n, device=device) % 2
    pixels = random_pixels(n)
    mask = np.hypot(*np.mgrid[-112:112, -112:112]) < 60
    half = dtype_of("auto", device)

    def targets() -> torch.Tensor:
        cells = np.stack([cell_target(image, mask) for image in pixels])
        return torch.tensor(cells, device=device).permute(0, 3, 1, 2).float() / 255

    stored = targets()

    def steps(straightforward: bool) -> Callable[[], float]:
        model = new_autoencoder(shape[0], 50, PAPER_DECODER_CHANNELS, seed=0).train().to(device)
        if straightforward:
            for module in model.modules():
                if isinstance(module, PhasedConvTranspose2d):
                    module.__class__ = nn.ConvTranspose2d
        else:
            model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)

        def step() -> float:
            wanted = targets() if straightforward else stored
            with torch.autocast(device.type, dtype=half, enabled=not straightforward and half != torch.float32):
                latents, cells = model(maps)
            latents, cells = latents.float(), cells.float()
            if straightforward:
                loss = 1 - depthwise_ssim(cells, wanted) + 5 * linear_mmd(latents, domains)
            else:
                loss = autoencoder_loss(cells, wanted, latents, domains)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.item()

        return step

    return {"straightforward": steps(True), "bc_sam": steps(False)}


def depthwise_ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """SSIM as its usual implementations compute it."""
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
    similar = ((2 * mean_a * mean_b + c1) * (2 * cov + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return similar.mean()


if __name__ == "__main__":
    main()
