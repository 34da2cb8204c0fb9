"""Looks at the cells of a slide step by step, in constant memory and within a time limit."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bc_sam.data.batches import decoded_batches
from bc_sam.errors import ImageError
from bc_sam.space.server.gpu import device
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import image_sources, opened_uploads
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.slide_view import Slide

#: Images a step. A visitor with a single cell waits for one step of another's slide.
STEP = 16


def predict_slide(loaded: LoadedModel, files: Sequence[str | Path], settings: PageSettings) -> Iterator[Slide]:
    """Looks at all images among some files and in their zips.

    Args:
        loaded: The model.
        files: Image files and zips of them.
        settings: What is allowed.

    Yields:
        The slide, which grows by a step each time; the first time before any image was looked at.

    Raises:
        DataError: If there is no image, there are too many, or a zip is not to be trusted.
    """
    loaded.move(device())
    start = time.monotonic()
    errors: dict[int, ImageError] = {}
    with opened_uploads(files, settings) as uploads:
        slide = Slide(loaded.name, loaded.model.labels, expected=len(uploads))
        yield slide
        images = image_sources(uploads, errors)
        for batch in decoded_batches(images, loaded.model.config.image_size, STEP, max_pixels=settings.max_pixels):
            places = range(len(slide.cells), len(slide.cells) + len(batch.sources))
            slide.add(
                loaded.inspect(batch), [uploads[place].name for place in places], [errors.get(p) for p in places]
            )
            yield slide
            if time.monotonic() - start > settings.seconds and len(slide.cells) < slide.expected:
                slide.note = f"Stopped after {settings.seconds / 60:.0f} minutes. Drop the other images by themselves."
                yield slide
                return
