"""Inference beside other programs that use the cores: python benchmarks/busy.py [--neighbours 0 2 4].

Embeds batches of bc-sam-tiny with ONNX Runtime while processes spin, by one thread, by a thread on each core, and by
threads that wait for each other in a loop, ONNX Runtime's default, instead of sleeping.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnxruntime
from timing import alternate, machine, print_table, spread

from bc_sam import load_model
from bc_sam.models.onnx_backend.export import export_to_folder
from bc_sam.models.onnx_backend.files import EMBEDDINGS, NETWORKS, PIXELS
from bc_sam.utils.private_folder import PrivateFolder

BATCH = 16


def main() -> None:
    """Prints wall and CPU time per image for each number of neighbours and kind of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    size = load_model(backend="onnx", classifiers=[]).config.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    with PrivateFolder("bc_sam_busy_") as folder:
        graph = (export_to_folder("bc-sam-tiny", folder / "model", standalone=True) / NETWORKS).read_bytes()
    sessions = {
        "one thread": open_session(graph, threads=1, spinning=False),
        "a thread on each core, spinning": open_session(graph, threads=0, spinning=True),
        "a thread on each core, sleeping": open_session(graph, threads=0, spinning=False),
    }
    cpu: dict[str, list[float]] = {name: [] for name in sessions}

    def embed(name: str) -> None:
        start = time.process_time()
        sessions[name].run([EMBEDDINGS], {PIXELS: pixels})
        cpu[name].append((time.process_time() - start) / BATCH)

    print(machine())
    rows = []
    for n in options.neighbours:
        for values in cpu.values():
            values.clear()
        with neighbours(n):
            seconds = alternate({name: lambda name=name: embed(name) for name in sessions}, options.rounds)
        for name, values in seconds.items():
            rows.append((f"{n} neighbours, {name}", spread(values, BATCH / 1000), spread_median(cpu[name])))
    print_table(("", "ms per image, median (range)", "CPU ms per image"), rows)


def open_session(graph: bytes, *, threads: int, spinning: bool) -> onnxruntime.InferenceSession:
    """Opens a graph with a number of threads; 0 is one on each core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def spread_median(values: list[float]) -> str:
    """Returns the median in milliseconds as text."""
    return f"{1000 * statistics.median(values):.1f}"


@contextmanager
def neighbours(n: int) -> Iterator[None]:
    """Keeps n processes spinning in a ``with`` block."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
