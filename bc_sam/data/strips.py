"""Large images, one strip of rows at a time, so that intermediate results take the memory of a strip only.

The results are those of the whole image, byte for byte.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Pixels of a strip. Images of single cells are one strip.
_PIXELS = 2**20


def strips(height: int, width: int) -> Iterator[slice]:
    """Yields the rows of each strip of an image.

    Example:
        >>> list(strips(300, 10_000))
        [slice(0, 104, None), slice(104, 208, None), slice(208, 300, None)]
    """
    step = max(1, _PIXELS // max(width, 1))
    for first in range(0, height, step):
        yield slice(first, min(first + step, height))


def map_strips(function: Callable[[Any], NDArray], pixels: Image.Image | NDArray) -> NDArray:
    """Applies a function that treats each pixel by itself.

    Args:
        function: Returns (h, W) or (h, W, C) for a strip of h rows, which is an array if `pixels` is one.
        pixels: Array (H, W) or (H, W, C), or Pillow image, H and W at least 1.

    Returns:
        What the function would return for all pixels.

    Example:
        >>> map_strips(lambda strip: strip // 2, np.full((2, 3), 9)).tolist()
        [[4, 4, 4], [4, 4, 4]]
    """
    width, height = pixels.size if isinstance(pixels, Image.Image) else pixels.shape[1::-1]
    result: NDArray | None = None
    for rows in strips(height, width):
        strip = pixels.crop((0, rows.start, width, rows.stop)) if isinstance(pixels, Image.Image) else pixels[rows]
        part = function(strip)
        if result is None:
            result = np.empty((height, *part.shape[1:]), part.dtype)
        result[rows] = part
    assert result is not None
    return result


def resize_strips(
    parts: Iterable[NDArray[np.uint8]], size: tuple[int, int], method: Image.Resampling
) -> NDArray[np.uint8]:
    """Resizes an image that comes in strips: first their rows and then its columns, as Pillow does.

    Args:
        parts: Consecutive strips, each (h, W) or (h, W, 3).
        size: Width and height of the result, pixels.
        method: A method with a kernel, which is any but nearest neighbour.

    Returns:
        (height, width) or (height, width, 3).

    Example:
        >>> image = np.arange(12, dtype=np.uint8).reshape(4, 3)
        >>> resize_strips([image[:2], image[2:]], (1, 2), Image.Resampling.BOX).tolist()
        [[3], [9]]
    """
    narrow = [np.asarray(Image.fromarray(part).resize((size[0], len(part)), method)) for part in parts]
    return np.array(Image.fromarray(np.concatenate(narrow)).resize(size, method))


def resize(pixels: NDArray[np.uint8], size: tuple[int, int], method: Image.Resampling) -> NDArray[np.uint8]:
    """Resizes an image (H, W) or (H, W, 3) to a width and height; see `resize_strips`."""
    return resize_strips((pixels[rows] for rows in strips(*pixels.shape[:2])), size, method)
