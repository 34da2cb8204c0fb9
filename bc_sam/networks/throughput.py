"""Measures this machine's encoder throughput for each dtype and batch size."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import SamConfig, SamModel

from bc_sam.config.base import Precision
from bc_sam.config.model import BCSamConfig
from bc_sam.networks.features import encode_pixels, inference_sam
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.networks.sam.resizing import resize_sam
from bc_sam.utils.torch_utils import seeded

_SIZES = (1, 4, 8, 16, 32, 64, 128, 256)
_PRECISIONS: tuple[Precision, ...] = ("no", "bf16", "fp16")
_NAMES = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Rate:
    """The throughput of one dtype and batch size.

    Attributes:
        dtype: As for `BCSam.from_pretrained`.
        batch_size: Images per batch.
        images_per_second: Encoder throughput.
    """

    dtype: str
    batch_size: int
    images_per_second: float


def vit_b() -> SamModel:
    """Returns SAM ViT-B at 224 px with random weights of realistic scale.

    The default initialization of transformers is a billion times smaller, and CPUs are slow at the denormal products
    of such weights.
    """
    config = SamConfig(vision_config={"initializer_range": 0.02})
    with seeded(0):
        return resize_sam(SamModel(config), 224)


def measure_rates(
    sam: SamModel,
    device: torch.device,
    *,
    seconds: float = 1.5,
    sizes: Sequence[int] = _SIZES,
    timer: Callable[[SamModel, BCSamConfig, np.ndarray, float], float] | None = None,
) -> Iterator[Rate]:
    """Measures SAM's encoder on images in memory, for each dtype that suits the device.

    Batch sizes are tried in ascending order until memory runs out or throughput drops below 90 % of the best so far.

    Args:
        sam: The model, without an adapter.
        device: Device to compute on.
        seconds: Time budget per measurement in seconds, after one warm-up batch.
        sizes: Batch sizes, ascending.
        timer: Returns the seconds per batch, given the model, its config, the pixels (B, S, S, 3) and the time budget;
            by default the median of the batches that fit the budget.

    Yields:
        The rates, as they are measured.
    """
    vision: Any = sam.config.vision_config
    size = vision.image_size
    config = BCSamConfig(image_size=size, feature_channels=feature_shape(sam)[0])
    for precision in _PRECISIONS[:2] if device.type == "cpu" else _PRECISIONS:
        ready, best = inference_sam(sam, device, precision), 0.0
        for batch_size in sizes:
            pixels = np.zeros((batch_size, size, size, 3), np.uint8)
            try:
                rate = batch_size / (timer or _seconds)(ready, config, pixels, seconds)
            except torch.OutOfMemoryError:
                break
            yield Rate(_NAMES[precision], batch_size, rate)
            if rate < 0.9 * best:
                break
            best = max(best, rate)


def _seconds(sam: SamModel, config: BCSamConfig, pixels: np.ndarray, budget: float) -> float:
    """Returns the median seconds per batch."""
    encode_pixels(sam, config, pixels)
    durations: list[float] = []
    while sum(durations) < budget or len(durations) < 3:
        start = time.perf_counter()
        encode_pixels(sam, config, pixels)[0, 0, 0, 0].item()  # synchronizes with the device
        durations.append(time.perf_counter() - start)
    return float(np.median(durations))


def render_advice(rates: Sequence[Rate]) -> str:
    """Returns a recommendation: the smallest batch size within 5 % of the best throughput."""
    fastest = max(rate.images_per_second for rate in rates)
    best = min((r for r in rates if r.images_per_second >= 0.95 * fastest), key=lambda r: r.batch_size)
    hours = 1e6 / best.images_per_second / 3600
    return (
        f'Recommended: dtype="{best.dtype}", batch_size={best.batch_size}; on the command line --dtype {best.dtype} '
        f"--batch-size {best.batch_size}.\n1,000 cells take {1000 / best.images_per_second:.0f} s, a million "
        f"{hours:.1f} h, not counting reading the files."
    )
