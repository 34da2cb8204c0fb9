"""Which number format a device computes in fast, and the context that computes in it."""

from contextlib import AbstractContextManager

import torch

from bc_sam.config import Precision
from bc_sam.errors import ConfigError

_DTYPES: dict[str, Precision] = {"auto": "auto", "float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def precision_of(dtype: str | torch.dtype | None) -> Precision:
    """Returns the number format of matrix products that a dtype stands for; ``None`` is full precision.

    Raises:
        ConfigError: If it is none of ``"auto"``, ``"float32"``, ``"bfloat16"``, ``"float16"`` and torch's dtypes.

    Example:
        >>> precision_of(torch.bfloat16)
        'bf16'
    """
    name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise ConfigError(f"There is no dtype {name!r} here; choose one of {', '.join(_DTYPES)}.")
    return _DTYPES[name]


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Turns ``"auto"`` into bf16 where the device has matrix units for it, else into full precision.

    Args:
        precision: ``"auto"``, ``"no"``, ``"bf16"`` or ``"fp16"``.
        device: The device that computes.

    Returns:
        Anything but ``"auto"``.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    # A processor without bf16 instructions emulates it, which is slower than float32.
    fast = ("avx512_bf16", "amx_bf16")
    return "bf16" if device.type == "cpu" and any(map(torch.cpu.get_capabilities().get, fast)) else "no"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Returns a context in which matrix products run at `precision` on `device`."""
    chosen = resolve_precision(precision, device)
    dtype = torch.float16 if chosen == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=chosen != "no")
