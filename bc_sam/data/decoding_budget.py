"""Memory for decoding images: a small file may hold a large image, so the declared sizes count, not those of files."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

from bc_sam.data.decoding.declared import Declared, declared, declared_in_memory
from bc_sam.data.images import open_source
from bc_sam.utils.byte_budget import ByteBudget

#: The budget of all threads and visitors: 512 MiB, which is about one image of 50 million pixels at a time.
BUDGET = ByteBudget(2**29)


@contextmanager
def memory_for(source: Any, *, max_pixels: int, budget: ByteBudget = BUDGET) -> Iterator[None]:
    """Waits until there is memory to decode an image, and holds it during a ``with`` block.

    Args:
        source: As for `bc_sam.data.images.read_image`.
        max_pixels: Maximum number of pixels of an image; larger ones are not decoded.
        budget: The budget.

    Example:
        >>> with memory_for(np.zeros((100, 100, 3), np.uint8), max_pixels=20_000):
        ...     BUDGET.used
        90000
    """
    n_pixels, bytes_per_pixel = _declared(source)
    with budget.reserved(n_pixels * bytes_per_pixel if n_pixels <= max_pixels else 0):
        yield


def _declared(source: Any) -> Declared:
    """Returns what the header of a source declares; no pixels for what cannot be read as an image."""
    if isinstance(source, np.ndarray):
        return declared_in_memory(int(np.prod(source.shape[:2])))
    if isinstance(source, Image.Image):
        return declared_in_memory(source.width * source.height)
    try:
        with open_source(source) as file:
            return declared(file)
    except Exception:  # decoders raise nearly every built-in type on damaged input; `read_image` reports it
        return Declared(0, 0)
