"""What does a cell of a batch job cost, and what a block? Measures both in one process.

``python benchmarks/batch_costs.py CELLS [--backend onnx]``: CPU time of reading and preparing a cell, of computing it,
of a block's file, and bytes on disk. CPU time depends less than the clock on what else runs on the machine. Set
OMP_NUM_THREADS=1.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from bc_sam.data.batches import decoded_batches
from bc_sam.data.blocks.plan import plan_blocks, sample_cells
from bc_sam.data.blocks.reading import read_block
from bc_sam.data.preparation import Preparation, profile_sources
from bc_sam.models.batch.output import write_block
from bc_sam.models.batch.settings import BatchSettings, Job, ModelIdentity, open_model
from bc_sam.models.batch.worker import Worker, compute, load_job_model


def main() -> None:
    """Prints a table of costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells")
    parser.add_argument("--model", default="bc-sam-tiny")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--most", type=int, default=96, help="Most cells to compute.")
    options = parser.parse_args()
    settings = BatchSettings(model=options.model, backend=options.backend, block_size=options.most)
    plan_s, plan = _cpu(lambda: plan_blocks([options.cells], block_size=options.most))
    stored = open_model(settings)
    images = [{"bytes": cell.content, "path": cell.source} for cell in sample_cells(plan)]
    profile = profile_sources(images)
    job = Job(settings, ModelIdentity.of(stored), profile, plan.fingerprint)
    block = plan.blocks[0]
    start_s, model = _cpu(lambda: load_job_model(job))
    cells = [{"bytes": cell.content, "path": cell.source} for cell in islice(read_block(block), options.most)]
    list(compute(model, job, cells[:16]))  # warm
    preparation = Preparation(model.config.image_size, model.config.normalization, profile)
    prepare_s, _ = _cpu(lambda: list(decoded_batches(iter(cells), preparation, settings.batch_size)))
    all_s, _ = _cpu(lambda: list(compute(model, job, cells)))
    finished = Worker(job)(block)
    with tempfile.TemporaryDirectory() as folder:
        write_s, _ = _cpu(lambda: write_block(Path(folder), finished, 1))
    n, found = len(cells), plan.n_cells or 1
    print("| cost | value |\n|:--|--:|")
    print(f"| listing, CPU ms a cell | {1000 * plan_s / found:.3f} |")
    print(f"| start of a worker, CPU s | {start_s:.1f} |")
    print(f"| reading and preparing, CPU ms a cell | {1000 * prepare_s / n:.1f} |")
    print(f"| the model and its rows, CPU ms a cell | {1000 * (all_s - prepare_s) / n:.1f} |")
    print(f"| writing, CPU ms a block | {1000 * write_s:.1f} |")
    print(f"| results, bytes a cell | {sum(map(len, finished.contents.values())) / finished.counts.cells:.0f} |")


def _cpu(call: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the CPU seconds of this process in a call, and its result."""
    before = time.process_time()
    result = call()
    return time.process_time() - before, result


if __name__ == "__main__":
    main()
