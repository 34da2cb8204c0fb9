"""Weights of the parity tests, derived from tensor names and shapes instead of being stored."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PARITY = Path(__file__).parent / "parity"


def value(key: str, shape: Sequence[int]) -> np.ndarray:
    """Returns the float64 values of the tensor named `key` in the original code."""
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return np.zeros(shape)
    noise = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(shape))
    if last == "running_var":
        return 1 + 0.2 * abs(noise)
    if last == "running_mean":
        return 0.1 * noise
    if "pos" in last or "positional" in key:
        return 0.3 * noise
    if len(shape) > 1:
        return noise / np.sqrt(np.prod(shape[1:]))
    return 1 + 0.1 * noise if key.endswith("weight") else 0.05 * noise


def state(keys_file: str, scale: float = 1.0) -> dict[str, Tensor]:
    """Returns the float32 state dict with the names and shapes listed in ``tests/parity/<keys_file>``."""
    shapes = json.loads((PARITY / keys_file).read_text())
    return {key: torch.as_tensor(scale * value(key, shape), dtype=torch.float32) for key, shape in shapes.items()}


def expected(file: str) -> dict[str, np.ndarray]:
    """Returns the outputs of the original code with these weights."""
    with np.load(PARITY / file) as arrays:
        return dict(arrays)
