"""Which number format a device computes in fast, and the context that computes in it."""

from contextlib import AbstractContextManager

import torch

from bc_sam.config import Precision


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
