"""What an engine is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from bc_sam.data.blocks.block import Block
from bc_sam.models.batch.rows import FinishedBlock
from bc_sam.models.batch.settings import Job

EngineName = Literal["local", "ray", "accelerate"]


@dataclass(frozen=True)
class Resources:
    """What a job may use. Its results do not depend on it.

    Attributes:
        workers: Number of workers, for Ray; ``None`` for as many as the cluster has room for.
        cpus: CPU cores of each worker, for Ray.
        gpus: GPUs of each worker, for Ray.
        address: Address of a Ray cluster, such as ``"auto"`` or ``"ray://host:10001"``; ``None`` starts Ray on this
            machine.
        machine: Options of loading the model on each worker, such as ``device`` and ``token``.
    """

    workers: int | None = None
    cpus: float = 1
    gpus: float = 0
    address: str | None = None
    machine: dict[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """Spreads blocks over workers."""

    def start(self, job: Job) -> dict[str, Any]:
        """Checks that there are workers with the model of the job; returns what the manifest says of them.

        Raises:
            BCSamError: If there are none; nothing has been computed then.
        """

    def run(self, job: Job, blocks: Sequence[Block]) -> Iterator[FinishedBlock]:
        """Computes blocks; yields each when it is finished, in any order.

        Raises:
            BCSamError: If a block cannot be computed for a reason that a repetition does not remove.
        """

    def stop(self) -> None:
        """Frees what `start` has taken."""
