"""Runs a model on the cells of a slide batch by batch, in constant memory and within a time limit."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bc_sam.data.preparation import sample_evenly
from bc_sam.errors import ImageError
from bc_sam.evaluation.naming_error import NamingError
from bc_sam.models.laboratory import judge_cells
from bc_sam.space.server.gpu import device
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import image_sources, opened_uploads
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.slide_view import Slide

#: Images per batch. A visitor with a single cell waits for one batch of another's slide.
BATCH_SIZE = 16


def predict_slide(loaded: LoadedModel, files: Sequence[str | Path], settings: PageSettings) -> Iterator[Slide]:
    """Runs a model on all images among files and inside zips.

    Args:
        loaded: The model.
        files: Image files and zips of them.
        settings: Limits of the page.

    Yields:
        The slide, which grows by one batch each time, starting empty.

    Raises:
        DataError: If there are no images or too many, or a zip is unsafe.
    """
    loaded.move(device())
    start = time.monotonic()
    errors: dict[int, ImageError] = {}
    with opened_uploads(files, settings) as uploads:
        slide = start_slide(loaded, len(uploads))
        yield slide
        sample = [uploads[i] for i in sample_evenly(len(uploads))]
        profile = loaded.model.profile(image_sources(sample, {}), max_pixels=settings.max_pixels)
        images = image_sources(uploads, errors)
        for batch in loaded.model.batches(images, BATCH_SIZE, max_pixels=settings.max_pixels, profile=profile):
            indices = range(len(slide.cells), len(slide.cells) + len(batch.sources))
            inspected = loaded.inspect(batch)
            names = [uploads[i].name for i in indices]
            digests = [hashlib.sha256(source["bytes"]).hexdigest() for source in batch.sources]
            slide.add(inspected, names, [errors.get(i) for i in indices], digests)
            slide.laboratory = judge_cells(loaded.model, *slide.usable())
            yield slide
            if time.monotonic() - start > settings.seconds and len(slide.cells) < slide.expected:
                slide.note = (
                    f"Stopped after {settings.seconds / 60:.0f} minutes. Drop the remaining images separately."
                )
                yield slide
                return


def start_slide(loaded: LoadedModel, expected: int) -> Slide:
    """Returns an empty slide for a number of images, with what the model knows of its own errors."""
    model = loaded.model
    errors = {name: NamingError.of(model.evaluation, name) for name in model.classifiers}
    return Slide(
        loaded.name,
        model.labels,
        possible=model.config.allowed_labels,
        expected=expected,
        naming={name: error for name, error in errors.items() if error is not None},
    )
