"""Batches of decoded images. The next batch is decoded while the model processes the current one."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from bc_sam.data.appearance.resolution_tags import read_resolution_tag
from bc_sam.data.decoding_budget import memory_for
from bc_sam.data.images import MAX_PIXELS, read_pixels
from bc_sam.data.preparation import Preparation, PreparedImage
from bc_sam.errors import ConfigError, ImageError


@dataclass(frozen=True)
class Batch:
    """Consecutive images of a stream.

    Attributes:
        sources: Source of each image, as given.
        errors: Error of each image, or ``None`` for readable images.
        prepared: The readable images as the encoder sees them.
        pixels: (n, S, S, 3) uint8, their pixels.
    """

    sources: list[Any]
    errors: list[ImageError | None]
    prepared: list[PreparedImage]
    pixels: np.ndarray


def decoded_batches(
    images: Iterable[Any], preparation: Preparation, batch_size: int, *, max_pixels: int = MAX_PIXELS
) -> Iterator[Batch]:
    """Decodes a stream of images in batches, prefetching one batch, in constant memory.

    Args:
        images: Paths, bytes, PIL images or arrays; see `bc_sam.data.images.read_image`.
        preparation: How the images are prepared for the encoder.
        batch_size: Images per batch.
        max_pixels: Maximum number of pixels of an image.

    Yields:
        Batches. Unreadable images are reported in `Batch.errors`.

    Raises:
        ConfigError: If `batch_size` is not positive.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be positive, but is {batch_size}.")
    stream = iter(images)
    with ThreadPoolExecutor() as pool:

        def submit() -> list[tuple[Any, Future]]:
            sources = islice(stream, batch_size)
            return [(source, pool.submit(_decode, source, preparation, max_pixels)) for source in sources]

        upcoming = submit()
        while upcoming:
            current, upcoming = upcoming, submit()
            yield _collect(current, preparation.image_size)


def _decode(source: Any, preparation: Preparation, max_pixels: int) -> PreparedImage | ImageError:
    with memory_for(source, max_pixels=max_pixels):
        try:
            pixels = read_pixels(source, max_pixels=max_pixels)
        except ImageError as error:
            return error
        prepared = preparation.prepare(pixels, read_resolution_tag(source) if preparation.needs_tag else None)
        del pixels  # before the memory is given back
        return prepared


def _collect(futures: list[tuple[Any, Future]], image_size: int) -> Batch:
    results = [future.result() for _, future in futures]
    prepared = [result for result in results if isinstance(result, PreparedImage)]
    empty = np.empty((0, image_size, image_size, 3), np.uint8)
    return Batch(
        sources=[source for source, _ in futures],
        errors=[result if isinstance(result, ImageError) else None for result in results],
        prepared=prepared,
        pixels=np.stack([image.pixels for image in prepared]) if prepared else empty,
    )
