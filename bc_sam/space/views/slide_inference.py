"""Runs a model on the cells of a slide batch by batch, in constant memory and within a time limit."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from bc_sam.data.preparation import require_pixel_size, sample_evenly
from bc_sam.errors import ImageError
from bc_sam.evaluation.naming_error import NamingError
from bc_sam.models.laboratory import judge_cells
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import Upload, image_sources, opened_uploads
from bc_sam.space.views.field_inference import Kind, find_fields, search_fields
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.slide_adaptation import can_adapt
from bc_sam.space.views.slide_view import Slide

#: Images per batch. A visitor with a single cell waits for one batch of another's slide.
BATCH_SIZE = 16


def predict_slide(
    loaded: LoadedModel,
    files: Sequence[str | Path],
    settings: PageSettings,
    kind: Kind = "cells",
    microns_per_pixel: float | None = None,
    *,
    pictures: bool = True,
) -> Iterator[Slide]:
    """Runs a model on all images among files and inside zips.

    Args:
        loaded: The model.
        files: Image files and zips of them.
        settings: Limits of the page.
        kind: What they show.
        microns_per_pixel: Pixel size of the fields among them, µm; by default it is measured.
        pictures: Whether to make pictures of the cells and fields.

    Yields:
        The slide, which grows by one batch of crops or one field each time, starting empty.

    Raises:
        DataError: If there are no images or too many, or a zip is unsafe.
        ConfigError: If the pixel size is not plausible.
    """
    require_pixel_size(microns_per_pixel)
    loaded.move_to_gpu()
    start = time.monotonic()
    with opened_uploads(files, settings) as uploads:
        slide = start_slide(loaded, len(uploads))
        slide.keeps_pictures = pictures
        yield slide
        found = set(find_fields(uploads, settings, kind, microns_per_pixel))
        crops = [upload for index, upload in enumerate(uploads) if index not in found]
        fields = [upload for index, upload in enumerate(uploads) if index in found]
        slide.taken = describe_taken([upload.name for upload in fields], [upload.name for upload in crops])
        steps = chain(
            _name_crops(loaded, crops, settings, slide) if crops else (),
            search_fields(loaded, fields, settings, slide, microns_per_pixel) if fields else (),
        )
        for _ in steps:
            slide.laboratory = judge_cells(loaded.model, *slide.usable())
            yield slide
            if time.monotonic() - start > settings.seconds and slide.processed < slide.expected:
                slide.note = (
                    f"Stopped after {settings.seconds / 60:.0f} minutes. Drop the remaining images separately."
                )
                yield slide
                return


def _name_crops(
    loaded: LoadedModel, uploads: Sequence[Upload], settings: PageSettings, slide: Slide
) -> Iterator[None]:
    """Adds images of one cell each to a slide; yields after each batch."""
    errors: dict[int, ImageError] = {}
    sample = [uploads[i] for i in sample_evenly(len(uploads))]
    profile = loaded.model.profile(image_sources(sample, {}), max_pixels=settings.max_pixels)
    images = image_sources(uploads, errors)
    done = 0
    for batch in loaded.model.batches(images, BATCH_SIZE, max_pixels=settings.max_pixels, profile=profile):
        indices = range(done, done + len(batch.sources))
        done += len(batch.sources)
        inspected = loaded.inspect(batch)
        names = [uploads[i].name for i in indices]
        digests = [hashlib.sha256(source["bytes"]).hexdigest() for source in batch.sources]
        slide.add(inspected, names, [errors.get(i) for i in indices], digests)
        yield


def describe_taken(fields: Sequence[str], crops: Sequence[str]) -> str:
    """Returns a sentence on which images were taken as fields and which as crops of one cell.

    Example:
        >>> describe_taken(["a.jpg"], ["b.jpg", "c.jpg"])
        'Taken as a field: a.jpg. Taken as crops of one cell: b.jpg, c.jpg.'
    """
    if not fields:
        return ""
    parts = [f"Taken as {'fields' if len(fields) > 1 else 'a field'}: {_some(fields)}."]
    if crops:
        parts.append(f"Taken as {'crops' if len(crops) > 1 else 'a crop'} of one cell: {_some(crops)}.")
    return " ".join(parts)


def _some(names: Sequence[str], most: int = 3) -> str:
    listed = ", ".join(names[:most])
    return listed + (f" and {len(names) - most:,} more" if len(names) > most else "")


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
        can_adapt=can_adapt(loaded),
    )
