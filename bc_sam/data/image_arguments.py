"""The images that callers pass to a model, in the containers and types that Python code has them in."""

from collections.abc import Iterable, Mapping, Sequence
from io import IOBase
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from bc_sam.errors import ConfigError

_ONE = "Pass a list of images, even for one: [image]."


def image_sequence(images: Any) -> Iterable[Any]:
    """Checks what a caller passes as several images, and converts batches of tensors.

    Args:
        images: A list, another sequence or an iterator of images; or a batch: an array (n, H, W, C), or a tensor
            (n, C, H, W) as a `DataLoader` makes it, uint8 or floats in 0..1.

    Returns:
        The images, each of a type that `bc_sam.data.images.read_image` accepts. Sequences stay sequences.

    Raises:
        ConfigError: If it is a single image, or a data set or batch with several columns.

    Example:
        >>> image_sequence(np.zeros((2, 8, 9, 3), np.uint8))[0].shape
        (8, 9, 3)
    """
    if isinstance(images, str | bytes | PathLike | Image.Image | IOBase):
        raise ConfigError(f"This is one image. {_ONE}")
    if isinstance(images, Mapping) or hasattr(images, "column_names"):
        raise ConfigError('These are cells with several columns. Pass the column of the images: cells["image"].')
    if hasattr(images, "ndim"):
        if images.ndim != 4:
            shape = tuple(images.shape)
            raise ConfigError(f"This {type(images).__name__} of shape {shape} is not a batch of images. {_ONE}")
        return [image_argument(image) for image in images]
    if isinstance(images, list | tuple):
        return [image_argument(image) for image in images]
    if isinstance(images, Sequence):
        return images  # such as a column of a data set, which is decoded lazily
    if isinstance(images, Iterable):
        return map(image_argument, images)
    raise ConfigError(f"A {type(images).__name__} is no list of images. {_ONE}")


def image_argument(image: Any) -> Any:
    """Converts one image to a type that `bc_sam.data.images.read_image` accepts; other types are returned as they are.

    Args:
        image: A tensor (C, H, W) or (H, W) becomes an array (H, W, C) or (H, W), an open binary file its bytes.

    Raises:
        ConfigError: If it is a URL, since nothing is downloaded on behalf of an image.

    Example:
        >>> import torch
        >>> image_argument(torch.zeros(3, 8, 9)).shape
        (8, 9, 3)
    """
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        raise ConfigError(f"{image} is an address. Download the image first, and pass its path or bytes.")
    if isinstance(image, IOBase) or (hasattr(image, "read") and not isinstance(image, Image.Image)):
        return image.read()
    if hasattr(image, "detach") and hasattr(image, "numpy"):
        array = image.detach().cpu().numpy()
        return np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    return image
