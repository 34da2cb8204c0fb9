"""A worker: one model that computes one block after the other."""

import socket
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from bc_sam.data.blocks.block import Block, BlockCell
from bc_sam.data.blocks.reading import read_block, read_fields
from bc_sam.models.auto import model_class
from bc_sam.models.base import CellModel
from bc_sam.models.batch.field_rows import count_fields
from bc_sam.models.batch.rows import ONLY, FinishedBlock, Rows, error_row, finish_block, result_columns
from bc_sam.models.batch.settings import Job, ModelIdentity, open_model, pinned, require_same_model
from bc_sam.models.inspection import inspect_cells
from bc_sam.models.observation import Parts


class Worker:
    """Computes blocks of a job with a model of its own.

    While the model computes a batch, the next is decoded in threads, and the files after it are read.

    Args:
        job: The job.
        **machine: Options of loading the model on this machine, such as ``device``, ``token`` or ``cache_dir``.

    Raises:
        BCSamError: If the model cannot be loaded, or is not the one of the job.
    """

    def __init__(self, job: Job, **machine: Any) -> None:
        self._job = job
        self._model = load_job_model(job, **machine)

    def __call__(self, block: Block) -> FinishedBlock:
        """Computes a block.

        Raises:
            DataError: If the source has changed or cannot be reached.
        """
        rows: Rows
        if self._job.settings.task == "count":
            rows = count_fields(self._model, self._job, read_fields(block))
        else:
            rows = {ONLY: list(self._rows(read_block(block)))}
        return finish_block(block.index, rows, self._job)

    def _rows(self, cells: Iterator[BlockCell]) -> Iterator[dict[str, Any]]:
        """Yields the row of each cell, in order."""
        upcoming: deque[BlockCell] = deque()  # read, but not computed yet

        def images() -> Iterator[Any]:
            for cell in cells:
                upcoming.append(cell)
                if cell.error is None:
                    yield cell.image

        for columns in compute(self._model, self._job, images()):
            while upcoming[0].error is not None:
                yield error_row(upcoming.popleft())
            cell = upcoming.popleft()
            yield {"cell_id": cell.cell_id, "source": cell.source, **columns}
        yield from map(error_row, upcoming)


def load_job_model(job: Job, **machine: Any) -> CellModel:
    """Loads the model of a job, restricted to the labels that can occur.

    Args:
        job: The job.
        **machine: Options of loading the model on this machine.

    Raises:
        BCSamError: If it cannot be loaded, or is not the one of the job.
    """
    settings = pinned(job.settings, job.model)
    stored = open_model(settings, **machine)
    require_same_model(job.model, ModelIdentity.of(stored), f"The worker on {socket.gethostname()}")
    model = model_class(stored.config.method).opened(stored)
    return model.restrict_labels(settings.labels) if settings.labels else model


def compute(model: CellModel, job: Job, images: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Computes images in constant memory, with the scale and stain of the job.

    Args:
        model: The model of the job.
        job: The job.
        images: Images; see `bc_sam.data.images.read_image`.

    Yields:
        The columns of each image's result, in order; see `bc_sam.models.batch.rows.schema`.
    """
    settings = job.settings
    options: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "microns_per_pixel": settings.microns_per_pixel,
        "profile": job.profile,
    }
    results: Iterable[Any]
    if settings.task == "embed":
        results = inspect_cells(model, images, Parts.EMBEDDINGS, **options)
    else:
        results = model.stream(images, classifier=settings.classifier, abstain=settings.abstain, **options)
    return map(result_columns, results)
