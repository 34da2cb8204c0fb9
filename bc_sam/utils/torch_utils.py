"""Utilities for torch: strict weight checks, frozen copies, seeding."""

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from bc_sam.errors import ConfigError, WeightsError

_Model = TypeVar("_Model", bound=nn.Module)

_MAX_LISTED = 8  # names of each kind in an error message


def usable_device(device: str | torch.device | None) -> torch.device:
    """Returns a device of this machine; by default the first CUDA device, else the CPU.

    Args:
        device: Its name, such as ``"cpu"``, ``"cuda:1"`` or ``"mps"``.

    Raises:
        ConfigError: If there is no such device here.

    Example:
        >>> usable_device("cpu")
        device(type='cpu')
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # each backend has its own
        available = "cpu and cuda" if torch.cuda.is_available() else "cpu"
        raise ConfigError(f"There is no device {device} on this machine. Choose {available}.") from error
    return chosen


def require_match(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    """Checks that two sets of tensors have the same names and shapes, and floating-point types where expected.

    Args:
        expected: Tensors of the model.
        found: Tensors of the checkpoint.
        source: Name of the checkpoint, for error messages.

    Raises:
        WeightsError: If tensors are missing, unexpected or mismatched; the message lists them.
    """
    pairs = {name: (found[name], tensor) for name, tensor in expected.items() if name in found}
    mismatched = [
        f"{name} {tuple(ours.shape)} instead of {tuple(theirs.shape)}"
        for name, (ours, theirs) in pairs.items()
        if ours.shape != theirs.shape
    ]
    mismatched += [
        f"{name} {ours.dtype} instead of {theirs.dtype}"
        for name, (ours, theirs) in pairs.items()
        if theirs.is_floating_point() and not ours.is_floating_point()
    ]
    require_complete(source, expected.keys() - found.keys(), found.keys() - expected.keys(), mismatched)


def require_complete(
    source: str, missing: Collection[str], unexpected: Collection[str], mismatched: Collection[str]
) -> None:
    """Checks that a loader reported no missing, unexpected or mismatched tensors.

    Raises:
        WeightsError: If it did; the message lists the tensors.
    """
    kinds = {"missing": missing, "unexpected": unexpected, "wrong shape or type": mismatched}
    problems = [f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names]
    if problems:
        raise WeightsError(
            f"The weights of {source} do not match the model; {'; '.join(problems)}. "
            "Use a complete checkpoint of the same architecture."
        )


def _listed(names: Collection[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(sorted(names)[:_MAX_LISTED]) + more


def frozen_copy(model: _Model, own: Iterable[nn.Parameter] = ()) -> _Model:
    """Copies a model for inference, sharing the memory of its parameters.

    Args:
        model: The model, which is left unchanged.
        own: Parameters to copy instead of share, because the caller will modify them.

    Returns:
        The copy, frozen and in eval mode.
    """
    copied = {id(parameter) for parameter in own}
    shared = {id(p): nn.Parameter(p.data, requires_grad=False) for p in model.parameters() if id(p) not in copied}
    return copy.deepcopy(model, shared).requires_grad_(False).eval()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's CPU generator within a ``with`` block and restores its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Disables the progress bars of transformers within a ``with`` block, which cost milliseconds per load."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()


def halve_weights(folder: Path) -> None:
    """Converts the float32 tensors of all safetensors files in a folder to float16, in place."""
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        halved = {name: t.half() if t.dtype == torch.float32 else t for name, t in tensors.items()}
        save_file(halved, path, metadata=metadata)


def trained_parameters(model: nn.Module) -> int:
    """Returns the number of trainable parameters of a model.

    Example:
        >>> trained_parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
