"""Chooses the precision that a device computes fast in."""

from typing import Any

import torch

from bc_sam.config.base import Precision
from bc_sam.errors import ConfigError

_DTYPES: dict[str, Precision] = {"auto": "auto", "float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def precision_of(dtype: str | torch.dtype) -> Precision:
    """Returns the mixed-precision setting for a dtype.

    Raises:
        ConfigError: If it is not ``"auto"``, ``"float32"``, ``"bfloat16"``, ``"float16"`` or the torch dtype of one.

    Example:
        >>> precision_of(torch.bfloat16)
        'bf16'
    """
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise ConfigError(f"Unsupported dtype {name!r}. Choose one of {', '.join(_DTYPES)}.")
    return _DTYPES[name]


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Resolves ``"auto"`` to half precision where the device has matrix units for it, else to full precision.

    Args:
        precision: ``"auto"``, ``"no"``, ``"bf16"`` or ``"fp16"``.
        device: Device to compute on.

    Returns:
        ``"no"``, ``"bf16"`` or ``"fp16"``.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    # A CPU without bf16 instructions emulates them, which is slower than float32.
    fast = ("avx512_bf16", "amx_bf16")
    return "bf16" if device.type == "cpu" and any(map(cpu_capabilities().get, fast)) else "no"


def cpu_capabilities() -> dict[str, Any]:
    """Returns what PyTorch knows of the processor; nothing before torch 2.11, which then computes in float32."""
    return dict(getattr(torch.cpu, "get_capabilities", dict)())


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """Returns the weight dtype of a model that computes at `precision` on `device`.

    Example:
        >>> dtype_of("bf16", torch.device("cpu"))
        torch.bfloat16
    """
    dtypes = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return dtypes[resolve_precision(precision, device)]
