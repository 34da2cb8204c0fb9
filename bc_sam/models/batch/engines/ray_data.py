"""Ray Data: a pool of actors, each with a model, on one machine or a cluster.

Ray places the actors, starts those again that die, repeats the blocks that they had, and gives no more blocks out than
are being computed. An actor returns the bytes of a file; only the driver writes, so workers need not see its folder.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bc_sam.data.blocks.block import Block
from bc_sam.errors import BCSamError
from bc_sam.models.batch.engines.base import Resources
from bc_sam.models.batch.rows import Counts, FinishedBlock
from bc_sam.models.batch.settings import Job, ModelIdentity, open_model, pinned, require_same_model
from bc_sam.models.batch.worker import Worker
from bc_sam.utils.extras import extras_explained
from bc_sam.utils.ray_cluster import Cluster, connect, in_one_sentence, require_cluster

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)

# Blocks that Ray is given at a time. It keeps a reference for each, and a job may have millions.
_WAVE = 10_000

# What precedes the name of a table in that of its column.
_CONTENT = "content:"


class RayEngine:
    """Spreads blocks over a pool of Ray actors.

    Args:
        resources: Workers, their cores and GPUs, and the cluster.

    Raises:
        MissingPackageError: If Ray is not installed.
        BCSamError: If nothing answers at the address.
    """

    def __init__(self, resources: Resources) -> None:
        require_cluster(resources.address)
        self._resources = resources
        self._cluster: Cluster | None = None

    def start(self, job: Job) -> dict[str, Any]:
        """See `Engine.start`. Each node of a cluster is asked which model it has, without building it."""
        import ray

        self._cluster = connect(self._resources.address)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        n_workers = self._resources.workers or self._room()
        self._require_room(n_workers)
        if not self._cluster.started:  # else all workers have the files that this process has
            self._require_model(job, [node["NodeID"] for node in nodes])
        return {"name": "ray", "workers": n_workers, "nodes": len(nodes), "dashboard": self._cluster.dashboard}

    def run(self, job: Job, blocks: Sequence[Block]) -> Iterator[FinishedBlock]:
        """See `Engine.run`."""
        import ray

        n_workers = self._resources.workers or self._room()
        wave = max(_WAVE, 100 * n_workers)
        for start in range(0, len(blocks), wave):
            part = blocks[start : start + wave]
            items = [{"block": json.dumps(block.to_dict())} for block in part]
            dataset = ray.data.from_items(items, override_num_blocks=len(items))
            computed = self._computed(dataset, job, min(n_workers, len(part)))
            with in_one_sentence():
                for row in computed.iter_rows():
                    yield _from_columns(row)

    def stop(self) -> None:
        """Ends Ray if it was started here, and leaves a cluster otherwise."""
        if self._cluster is not None:
            self._cluster.close()

    def _computed(self, dataset: "Dataset", job: Job, n_workers: int) -> "Dataset":
        from ray.data import ActorPoolStrategy

        return dataset.map_batches(
            _Actor,
            batch_size=1,
            compute=ActorPoolStrategy(size=n_workers),
            fn_constructor_args=(json.dumps(job.to_dict()), self._resources.machine),
            num_cpus=self._resources.cpus,
            num_gpus=self._resources.gpus or None,
        )

    def _room(self) -> int:
        """Returns the number of workers for which the cluster has cores and GPUs."""
        import ray

        total = ray.cluster_resources()
        room = total.get("CPU", 0) // self._resources.cpus if self._resources.cpus else float("inf")
        if self._resources.gpus:
            room = min(room, total.get("GPU", 0) // self._resources.gpus)
        return max(1, int(room))

    def _require_room(self, n_workers: int) -> None:
        import ray

        total, each = ray.cluster_resources(), self._resources
        for name, wanted in (("CPU", each.cpus), ("GPU", each.gpus)):
            if n_workers * wanted > total.get(name, 0):
                needed = f"{n_workers} workers with {wanted:g} {name} each need {n_workers * wanted:g}"
                raise BCSamError(
                    f"{needed}, but the cluster has {total.get(name, 0):g}. Lower --workers or "
                    f"--{name.lower()}s-per-worker, or add machines."
                )

    def _require_model(self, job: Job, nodes: Sequence[str]) -> None:
        """Checks on every node, before anything is computed, that it has the model of the job."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ask = ray.remote(num_cpus=0)(_identify)
        spec = json.dumps(job.to_dict())
        answers = [
            ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                spec, self._resources.machine
            )
            for node in nodes
        ]
        with in_one_sentence():
            for host, identity in ray.get(answers):
                require_same_model(job.model, ModelIdentity.from_dict(json.loads(identity)), f"The machine {host}")


class _Actor:
    """A worker as Ray Data calls it, with a block in each batch."""

    def __init__(self, job: str, machine: dict[str, Any]) -> None:
        with extras_explained():
            self._worker = Worker(Job.from_dict(json.loads(job), where="the job"), **machine)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        (text,) = batch["block"]
        finished = self._worker(Block.from_dict(json.loads(text), where="the block"))
        return {name: [value] for name, value in _to_columns(finished).items()}


def _to_columns(block: FinishedBlock) -> dict[str, Any]:
    """Returns a block as plain columns, a binary one for each table, which Ray passes on as Arrow."""
    contents = {_CONTENT + table: content for table, content in block.contents.items()}
    return {"index": block.index, "counts": json.dumps(asdict(block.counts)), **contents}


def _from_columns(row: Mapping[str, Any]) -> FinishedBlock:
    contents = {name.removeprefix(_CONTENT): row[name] for name in row if name.startswith(_CONTENT)}
    return FinishedBlock(row["index"], contents, Counts(**json.loads(row["counts"])))


def _identify(job: str, machine: dict[str, Any]) -> tuple[str, str]:
    """Returns the host, and which model it has under the name of the job's."""
    import socket

    wanted = Job.from_dict(json.loads(job), where="the job")
    stored = open_model(pinned(wanted.settings, wanted.model), **machine)
    return socket.gethostname(), json.dumps(ModelIdentity.of(stored).to_dict())
