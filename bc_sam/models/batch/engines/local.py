"""One worker in this process, which uses all its cores."""

from collections.abc import Iterator, Sequence
from typing import Any

from bc_sam.data.blocks.block import Block
from bc_sam.models.batch.engines.base import Resources
from bc_sam.models.batch.rows import FinishedBlock
from bc_sam.models.batch.settings import Job
from bc_sam.models.batch.worker import Worker


class LocalEngine:
    """Computes one block after the other in this process.

    Args:
        resources: Options of loading the model.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def start(self, job: Job) -> dict[str, Any]:
        """See `Engine.start`."""
        return {"name": "local", "workers": 1}

    def run(self, job: Job, blocks: Sequence[Block]) -> Iterator[FinishedBlock]:
        """See `Engine.run`."""
        worker = Worker(job, **self._resources.machine)
        yield from map(worker, blocks)

    def stop(self) -> None:
        """Nothing was taken."""
