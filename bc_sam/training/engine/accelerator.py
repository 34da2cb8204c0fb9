"""Sets up Accelerate: processes, device, precision, gradient accumulation, trackers."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from accelerate import Accelerator, DataLoaderConfiguration

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.base import Precision
from bc_sam.errors import ConfigError
from bc_sam.networks.precision import resolve_precision
from bc_sam.utils.malloc import reuse_freed_memory
from bc_sam.utils.processes import processes


def start_accelerator(
    arguments: TrainingArguments, folder: Path, log_with: Sequence[str] = ()
) -> tuple[Accelerator, Precision]:
    """Starts Accelerate and resolves the precision.

    Args:
        arguments: Precision and accumulation; ``"auto"`` uses the precision of ``accelerate launch``, if set.
        folder: The run folder; trackers write to its subfolder ``logs``.
        log_with: Trackers.

    Returns:
        The accelerator, and the number format it computes in.

    Raises:
        ConfigError: If a tracker is unknown or not installed.
    """
    requested = arguments.mixed_precision
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if requested == "auto" and launched in ("no", "bf16", "fp16"):
        requested = cast(Precision, launched)
    device = processes().device
    if device.type == "cpu":
        reuse_freed_memory(large_blocks=True)
    precision = resolve_precision(requested, device)
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            gradient_accumulation_steps=arguments.gradient_accumulation_steps,
            dataloader_config=DataLoaderConfiguration(split_batches=True),
            log_with=list(log_with) or None,
            project_dir=folder / "logs",
        )
        accelerator.init_trackers("bc_sam", config=_flat(arguments.to_dict()))
    except (ValueError, ImportError) as error:
        raise ConfigError(f"Trackers {', '.join(log_with)}: {error} Install them, or omit --log-with.") from error
    return accelerator, precision


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings to dotted names, as trackers require."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, int | float | str) else str(value)
    return flat
