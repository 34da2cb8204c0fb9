"""A worker: one model that computes one block after the other."""

import socket
from collections import deque
from collections.abc import Iterator
from typing import Any

from bc_sam.data.blocks.block import Block, BlockCell
from bc_sam.data.blocks.reading import read_block
from bc_sam.models.auto import model_class
from bc_sam.models.batch.rows import FinishedBlock, embedding_row, error_row, finish_block, prediction_row
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
        settings = pinned(job.settings, job.model)
        stored = open_model(settings, **machine)
        require_same_model(job.model, ModelIdentity.of(stored), f"The worker on {socket.gethostname()}")
        self._job = job
        self._model = model_class(stored.config.method).opened(stored)
        if settings.labels:
            self._model.restrict_labels(settings.labels)

    def __call__(self, block: Block) -> FinishedBlock:
        """Computes a block.

        Raises:
            DataError: If the source has changed or cannot be reached.
        """
        settings = self._job.settings
        rows = list(self._rows(read_block(block)))
        return finish_block(block.index, rows, settings.task, self._job.digest, self._job.model.labels)

    def _rows(self, cells: Iterator[BlockCell]) -> Iterator[dict[str, Any]]:
        """Yields the row of each cell, in order."""
        upcoming: deque[BlockCell] = deque()  # read, but not computed yet

        def images() -> Iterator[dict[str, Any]]:
            for cell in cells:
                upcoming.append(cell)
                if cell.error is None:
                    yield {"bytes": cell.content, "path": cell.source}

        yield from self._computed(images(), upcoming)
        yield from map(error_row, upcoming)

    def _computed(self, images: Iterator[Any], upcoming: deque[BlockCell]) -> Iterator[dict[str, Any]]:
        settings, profile = self._job.settings, self._job.profile
        options: dict[str, Any] = {
            "batch_size": settings.batch_size,
            "microns_per_pixel": settings.microns_per_pixel,
            "profile": profile,
        }
        results: Iterator[Any]
        if settings.task == "embed":
            results = inspect_cells(self._model, images, Parts.EMBEDDINGS, **options)
        else:
            options |= {"classifier": settings.classifier, "abstain": settings.abstain}
            results = self._model.stream(images, **options)
        to_row: Any = embedding_row if settings.task == "embed" else prediction_row
        for result in results:
            while upcoming[0].error is not None:
                yield error_row(upcoming.popleft())
            yield to_row(upcoming.popleft(), result)
