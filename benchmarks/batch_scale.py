"""Is Ray as fast as one process with the same cores, and does memory grow with the number of cells?

``python benchmarks/batch_scale.py [--runs local:1000 ray:1000 ...]``: runs ``bc-sam predict`` on rendered cells, whose
files are repeated under other names, and prints a row as soon as a run has ended. Alternate the engines, and compare
the CPU time of a cell: where other programs use the machine, durations mean little. ``restart:1000`` kills the driver
of Ray when half of the blocks are there, and starts it again.

Rate and CPU time of a cell are taken between the fourth block and the last but one for each worker, when all are at
work; the start from the beginning of the process to the first block, on the clock and in CPU time of all processes.
Memory is the largest resident set, shared pages included. Set OMP_NUM_THREADS=1: two threads of one process wait for
each other in vain on a busy machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bc_sam.data import load_rendered

_INTERVAL = 0.5
_ACTOR = "ray::MapWorker"
_WARM_BLOCKS = 4


def main() -> None:
    """Prints a table of all runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", default=["local:1000", "ray:1000"] * 3 + ["restart:1000"])
    parser.add_argument("--cells", type=Path, help="Folder of cells; by default 260 are rendered.")
    parser.add_argument("--model", default="bc-sam-tiny")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--workers", type=int, default=2, help="Actors of Ray, with one core each.")
    parser.add_argument("--block-size", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="Where to work; by default a temporary folder.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bc_sam_scale_", dir=options.folder) as name:
        folder = Path(name)
        originals = sorted((options.cells or _render(folder / "originals")).iterdir())
        print(
            "| run | cells | start, s | start, CPU s | cells/s | CPU, ms a cell | CPU in all, s | driver, MB | "
            "largest actor, MB |"
        )
        print("|:--|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
        for number, run in enumerate(options.runs):
            kind, _, n_cells = run.partition(":")
            cells = _repeated(originals, folder / f"cells{number}", int(n_cells))
            engine = "local" if kind == "local" else "ray"
            asked = ["--model", options.model, "--backend", options.backend, "--block-size", str(options.block_size)]
            spread = ["--workers", str(options.workers)] if engine == "ray" else []
            out = folder / f"out{number}"
            command = ["predict", str(cells), *asked, "--engine", engine, *spread, "--out", str(out)]
            if kind == "restart":
                _Job(command, out).kill_at(int(n_cells) // options.block_size // 2)
            job = _Job(command, out)
            job.wait()
            n_workers = options.workers if engine == "ray" else 1
            print(job.row(run, int(n_cells), options.block_size, n_workers), flush=True)


def _render(folder: Path) -> Path:
    """Writes rendered cells as files."""
    folder.mkdir()
    for number, image in enumerate(load_rendered("munich", cells_per_class=20)["image"]):
        image.save(folder / f"{number:05d}.png")
    return folder


def _repeated(originals: Sequence[Path], folder: Path, n_cells: int) -> Path:
    """Returns a folder of as many files, which are links to the originals."""
    folder.mkdir()
    for number in range(n_cells):
        os.link(originals[number % len(originals)], folder / f"{number:06d}.png")
    return folder


@dataclass
class _Job:
    """A job in processes of its own, whose time and memory are sampled."""

    command: list[str]
    out: Path
    started: float = field(default_factory=time.time)
    cpu: dict[int, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=lambda: {"driver": 0.0, "actor": 0.0})
    blocks: list[tuple[float, float]] = field(default_factory=list)  # time and CPU seconds at each new block

    def __post_init__(self) -> None:
        self._before = self._n_blocks()
        log = self.out.with_suffix(".log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bc_sam", *self.command], stdout=subprocess.DEVNULL, stderr=log
        )

    def kill_at(self, n_blocks: int) -> None:
        """Kills the driver when there are so many blocks, and waits until Ray has gone."""
        while self._n_blocks() < n_blocks and self.process.poll() is None:
            time.sleep(_INTERVAL)
        others = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(others, timeout=60)

    def wait(self) -> None:
        """Waits until the job is complete."""
        while self.process.poll() is None:
            self._sample()
            time.sleep(_INTERVAL)
        self._note_blocks()
        if self.process.returncode:
            sys.exit(f"{' '.join(self.command)} failed: {self.out.with_suffix('.log').read_text()[-2000:]}")

    def row(self, name: str, n_cells: int, block_size: int, n_workers: int) -> str:
        """Returns the row of the table."""
        timed = self.blocks[_WARM_BLOCKS - 1 : -n_workers]
        (first, cpu_first), (last, cpu_last) = timed[0], timed[-1]
        n_timed = (len(timed) - 1) * block_size
        (at, cpu_start), rate = self.blocks[0], n_timed / (last - first)
        cost = 1000 * (cpu_last - cpu_first) / n_timed
        memory = f"{self.memory['driver']:.0f} | {self.memory['actor']:.0f}"
        start = f"{at - self.started:.0f} | {cpu_start:.0f}"
        return f"| {name} | {n_cells} | {start} | {rate:.1f} | {cost:.1f} | {self.blocks[-1][1]:.0f} | {memory} |"

    def _sample(self) -> None:
        try:
            driver = psutil.Process(self.process.pid)
            processes = [driver, *driver.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                with process.oneshot():
                    times, resident = process.cpu_times(), process.memory_info().rss / 2**20
                    kind = "driver" if process == driver else "actor" if process.name().startswith(_ACTOR) else ""
            except psutil.NoSuchProcess:
                continue
            self.cpu[process.pid] = times.user + times.system
            if kind:
                self.memory[kind] = max(self.memory[kind], resident)
        self._note_blocks()

    def _note_blocks(self) -> None:
        new = self._n_blocks() - self._before - len(self.blocks)
        self.blocks += [(time.time(), sum(self.cpu.values()))] * new

    def _n_blocks(self) -> int:
        return len(list(self.out.glob("part-*.parquet"))) if self.out.is_dir() else 0


if __name__ == "__main__":
    main()
