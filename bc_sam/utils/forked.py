"""Detects forked processes, in which torch's threads on the CPU are gone and the first computation would hang."""

import os

from bc_sam.errors import BCSamError

# The process in which torch has first computed with threads, if any; a fork inherits it.
_computed_in: int | None = None


def note_threads() -> None:
    """Notes that this process computes with torch's threads, which no fork of it can use."""
    global _computed_in
    if _computed_in is None:
        _computed_in = os.getpid()


def require_threads(n_threads: int | None = None) -> None:
    """Checks that torch, or ONNX Runtime, can compute on the CPU in this process.

    Args:
        n_threads: Number of threads that compute; by default torch's.

    Raises:
        BCSamError: If the process was forked from one that has loaded a model, and would use several threads.

    Example:
        >>> require_threads()
    """
    if _computed_in in (None, os.getpid()):
        return
    if n_threads is None:
        import torch

        n_threads = torch.get_num_threads()
    if n_threads > 1:
        raise BCSamError(
            "This worker was forked from a process that had loaded a model, and torch's threads hang in a fork: start "
            "workers with multiprocessing.get_context('spawn'), or call torch.set_num_threads(1) in each of them."
        )
