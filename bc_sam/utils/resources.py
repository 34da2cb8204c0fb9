"""What figures depend on and what they cost: the machine and its libraries, seconds and peak memory."""

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import psutil
import torch
from torch import nn

from bc_sam.config.arguments import TrainingArguments
from bc_sam.utils.hub import public_name

_INTERVAL = 0.05


@dataclass
class Cost:
    """Seconds, and peak resident memory in MiB; filled in when `measure` ends."""

    seconds: float = 0.0
    peak_memory_mib: float = 0.0


@contextmanager
def measure() -> Iterator[Cost]:
    """Measures the block under `with`, watching the memory of this process from a second thread.

    Example:
        >>> with measure() as cost:
        ...     _ = sum(range(1000))
        >>> cost.seconds > 0 and cost.peak_memory_mib > 0
        True
    """
    process, cost, done = psutil.Process(), Cost(), threading.Event()

    def watch() -> None:
        while not done.wait(_INTERVAL):
            cost.peak_memory_mib = max(cost.peak_memory_mib, process.memory_info().rss / 2**20)

    cost.peak_memory_mib = process.memory_info().rss / 2**20
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        done.set()
        watcher.join()


def _seen_by(arguments: TrainingArguments) -> dict[str, str]:
    """What looks at the images: a SAM, and of a network its backbones."""
    network, method = arguments.network, arguments.method
    named = {"base": public_name(arguments.base)} if method == "bc-sam" or network.needs_sam(method) else {}
    if method != "bc-sam":
        named["backbone"] = public_name(network.image_backbone)
        if network.needs_masks(method):
            named["backbone of the mask"] = public_name(network.mask_backbone)
    if arguments.label_fraction < 1:
        named["labels shown"] = f"{arguments.label_fraction:.0%}"
    return named


def trained_parameters(model: nn.Module) -> int:
    """Returns how many numbers of a model are trained.

    Example:
        >>> trained_parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def environment(arguments: TrainingArguments, precision: str) -> dict[str, str]:
    """Returns what the figures of a run depend on beside its data: base, precision, machine, versions."""
    libraries = ("bc_sam", "torch", "transformers", "peft", "accelerate", "scikit-learn", "xgboost")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    processor = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return {
        "method": arguments.method,
        **_seen_by(arguments),
        "precision": precision,
        "machine": gpu or f"{processor}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    } | {library: version(library) for library in libraries}
