"""Support for ZeroGPU Spaces, which allocate a GPU per call; a no-op anywhere else."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # the page also runs without torch
    import torch

#: Whether this is a ZeroGPU Space. There, decorated functions run in a separate process.
ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "true")

F = TypeVar("F", bound=Callable[..., Any])


def on_gpu(seconds: int) -> Callable[[F], F]:
    """Requests a GPU for each call of the decorated function on ZeroGPU; returns it unchanged elsewhere.

    Args:
        seconds: Longest duration of a call.
    """

    def decorate(function: F) -> F:
        if not ON_ZERO_GPU:
            return function
        import spaces  # installed on ZeroGPU Spaces only

        return spaces.GPU(duration=seconds)(function)

    return decorate


def device() -> "torch.device":
    """Returns torch's device to compute on: the GPU inside a decorated function, or if the machine has one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
