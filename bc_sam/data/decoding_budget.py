"""Memory for decoding images: a small file may hold a large image, so the declared sizes count, not those of files."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bc_sam.data.images import IMAGE_FORMATS
from bc_sam.utils.byte_budget import ByteBudget

# Peak of reading, converting and measuring an image of 49 million pixels, bytes per pixel: 22 for RGBA, 21 for RGB.
_BYTES_PER_PIXEL = 22

#: The budget of all threads and visitors: 1 GiB, which is about one image of 50 million pixels at a time.
BUDGET = ByteBudget(2**30)


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
        220000
    """
    pixels = _declared_pixels(source)
    with budget.reserved(_BYTES_PER_PIXEL * pixels if pixels <= max_pixels else 0):
        yield


def _declared_pixels(source: Any) -> int:
    """Returns the number of pixels by the header of a file; 0 for what cannot be read as an image."""
    if isinstance(source, Mapping):
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    if isinstance(source, np.ndarray):
        return int(np.prod(source.shape[:2]))
    if isinstance(source, Image.Image):
        return source.width * source.height
    try:
        if isinstance(source, bytes):
            file: Any = BytesIO(source)
        elif isinstance(source, str | os.PathLike) and Path(source).is_file():
            file = source
        else:
            return 0
        with Image.open(file, formats=tuple(IMAGE_FORMATS)) as image:
            return image.width * image.height
    except Exception:  # Pillow's decoders raise nearly every built-in type on damaged input; `read_image` reports it.
        return 0
