"""The weights behind `tests/parity`: each tensor follows from its name and shape alone, so none is stored."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PARITY = Path(__file__).parent / "parity"


def value(key: str, shape: Sequence[int]) -> np.ndarray:
    """Returns the float64 values of the tensor that is called `key` in the original code."""
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
    """Makes the state dict whose names and shapes `tests/parity/<keys_file>` lists, float32."""
    shapes = json.loads((PARITY / keys_file).read_text())
    return {key: torch.as_tensor(scale * value(key, shape), dtype=torch.float32) for key, shape in shapes.items()}


def expected(file: str) -> dict[str, np.ndarray]:
    """Reads what the original code computes with these weights."""
    with np.load(PARITY / file) as arrays:
        return dict(arrays)
