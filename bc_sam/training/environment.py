"""The environment of a run, on which its results depend: pretrained models, machine, library versions."""

import os
import platform
from importlib.metadata import version

import torch

from bc_sam.config.arguments import TrainingArguments
from bc_sam.networks.precision import cpu_capabilities
from bc_sam.utils.model_source import display_name


def _pretrained_models(arguments: TrainingArguments) -> dict[str, str]:
    """Returns the pretrained models of a run: the base, and the backbones of a network."""
    network, method = arguments.network, arguments.method
    models = {"base": display_name(arguments.base)} if method == "bc-sam" or network.inputs(method).sam else {}
    if method != "bc-sam":
        models["backbone"] = display_name(network.image_backbone)
        if network.inputs(method).masks:
            models["backbone of the mask"] = display_name(network.mask_backbone)
    if arguments.label_fraction < 1:
        models["labels shown"] = f"{arguments.label_fraction:.0%}"
    return models


def environment(arguments: TrainingArguments, precision: str) -> dict[str, str]:
    """Returns what the results of a run depend on besides its data: base, precision, machine, versions."""
    libraries = ("bc_sam", "torch", "transformers", "peft", "accelerate", "scikit-learn", "xgboost")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    processor = cpu_capabilities().get("cpu_name") or platform.machine()
    return {
        "method": arguments.method,
        **_pretrained_models(arguments),
        "precision": precision,
        "machine": gpu or f"{processor}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    } | {library: version(library) for library in libraries}
