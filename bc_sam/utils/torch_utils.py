"""Small helpers around torch: seeds, strict weights, copies."""

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

from bc_sam.errors import WeightsError

_Model = TypeVar("_Model", bound=nn.Module)


_LISTED = 8  # names in an error message, of each kind


def require_match(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    """Checks that two sets of tensors have the same names and shapes, and real numbers where they are expected.

    Raises:
        WeightsError: Names every tensor of `found` that is missing, unexpected or misshapen.
    """
    pairs = {name: (found[name], tensor) for name, tensor in expected.items() if name in found}
    misshapen = [
        f"{name} {tuple(ours.shape)} instead of {tuple(theirs.shape)}"
        for name, (ours, theirs) in pairs.items()
        if ours.shape != theirs.shape
    ]
    misshapen += [
        f"{name} {ours.dtype} instead of {theirs.dtype}"
        for name, (ours, theirs) in pairs.items()
        if theirs.is_floating_point() and not ours.is_floating_point()
    ]
    require_complete(source, expected.keys() - found.keys(), found.keys() - expected.keys(), misshapen)


def require_complete(
    source: str, missing: Collection[str], unexpected: Collection[str], misshapen: Collection[str]
) -> None:
    """Checks that a loader found every tensor and nothing else.

    Raises:
        WeightsError: Names the tensors, if there are any.
    """
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape or type": misshapen}
    problems = [f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names]
    if problems:
        raise WeightsError(
            f"The weights of {source} do not fit the model; {'; '.join(problems)}. "
            "Take a complete checkpoint of the same architecture."
        )


def _listed(names: Collection[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(sorted(names)[:_LISTED]) + more


def frozen_copy(model: _Model, own: Iterable[nn.Parameter] = ()) -> _Model:
    """Copies a model to compute with; its parameters share the model's memory, but for some.

    Args:
        model: Stays as it is.
        own: Those of its parameters that are to be changed in the copy.

    Returns:
        The copy, frozen and in eval mode.
    """
    changed = {id(parameter) for parameter in own}
    shared = {id(p): nn.Parameter(p.data, requires_grad=False) for p in model.parameters() if id(p) not in changed}
    return copy.deepcopy(model, shared).requires_grad_(False).eval()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws what is drawn inside from `seed`, on the CPU, and leaves torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Loads or saves inside without the progress bars of transformers, which take milliseconds here."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()


def halve_weights(folder: Path) -> None:
    """Rewrites the float32 tensors of every safetensors file in a folder as float16."""
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        halved = {name: t.half() if t.dtype == torch.float32 else t for name, t in tensors.items()}
        save_file(halved, path, metadata=metadata)


def trained_parameters(model: nn.Module) -> int:
    """Returns how many numbers of a model are trained.

    Example:
        >>> trained_parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
