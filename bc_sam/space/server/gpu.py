"""The graphics card that a Space of the kind ZeroGPU lends for a call; anywhere else this does nothing."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch

#: Whether this is such a Space. Its functions that use the card run in a process of their own.
ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "true")

F = TypeVar("F", bound=Callable[..., Any])


def on_gpu(seconds: int) -> Callable[[F], F]:
    """Decorates a function that a graphics card makes faster; it is returned as it is where none is lent.

    Args:
        seconds: The longest that it holds the card.
    """

    def decorate(function: F) -> F:
        if not ON_ZERO_GPU:
            return function
        import spaces  # only such a Space has it

        return spaces.GPU(duration=seconds)(function)

    return decorate


def device() -> torch.device:
    """Where to compute now: inside such a function, or on a machine with a card of its own, that is the card."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
