"""The processes of ``accelerate launch``, on one machine or several, which share the folder of results.

The first process decides which blocks there are to do; every process takes those of its rank and writes them itself.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from bc_sam.data.blocks.block import Block
from bc_sam.models.batch.engines.base import Resources
from bc_sam.models.batch.engines.local import LocalEngine
from bc_sam.models.batch.rows import FinishedBlock
from bc_sam.models.batch.settings import Job
from bc_sam.utils.extras import extras_explained


class AccelerateEngine:
    """Divides blocks among the processes that ``accelerate launch`` or ``torchrun`` started.

    Args:
        resources: Options of loading the model.

    Raises:
        MissingPackageError: If Accelerate is not installed.
    """

    def __init__(self, resources: Resources) -> None:
        with extras_explained():
            from bc_sam.utils.processes import processes
        self._state = processes()
        self._machine = dict(resources.machine)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that holds the folder."""
        return bool(self._state.is_main_process)

    def start(self, job: Job | None = None) -> dict[str, Any]:
        """See `Engine.start`."""
        return {"name": "accelerate", "workers": self._state.num_processes}

    def share(self, value: Any) -> Any:
        """Returns the value of the first process to all."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def share_of(self, blocks: Sequence[Block]) -> Sequence[Block]:
        """Returns the blocks of this process."""
        return blocks[self._state.process_index :: self._state.num_processes]

    def run(self, job: Job, blocks: Sequence[Block]) -> Iterator[FinishedBlock]:
        """Computes the blocks of this process; see `Engine.run`."""
        machine = self._machine
        if machine.get("device") is None and job.settings.backend != "onnx":  # which knows only the CPU
            machine = {**machine, "device": str(self._state.device)}
        return LocalEngine(Resources(machine=machine)).run(job, blocks)

    def wait(self) -> None:
        """Waits until every process has come here."""
        self._state.wait_for_everyone()

    def stop(self) -> None:
        """Leaves the group of processes."""
        self._state.destroy_process_group()
