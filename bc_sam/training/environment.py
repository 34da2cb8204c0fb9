"""The machine and versions that a run was made with."""

import os
import platform
from importlib.metadata import version

import torch

from bc_sam.config.arguments import TrainingArguments
from bc_sam.utils.hub import display_name


def _seen_by(arguments: TrainingArguments) -> dict[str, str]:
    """What looks at the images: a SAM, and of a network its backbones."""
    network, method = arguments.network, arguments.method
    named = {"base": display_name(arguments.base)} if method == "bc-sam" or network.needs_sam(method) else {}
    if method != "bc-sam":
        named["backbone"] = display_name(network.image_backbone)
        if network.needs_masks(method):
            named["backbone of the mask"] = display_name(network.mask_backbone)
    if arguments.label_fraction < 1:
        named["labels shown"] = f"{arguments.label_fraction:.0%}"
    return named


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
