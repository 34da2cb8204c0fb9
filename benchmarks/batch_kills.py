"""Do batch jobs survive being killed? Kills them at random moments, continues them, and compares the results.

``python benchmarks/batch_kills.py [--kills 20] [--out kills.csv]``: a third of the kills hit the only process of
``--engine local``, a third the driver of ``--engine ray``, and a third one of its workers. Each is a SIGKILL at a
moment drawn uniformly from the duration of an unbroken run, start included. A killed driver is started again with the
same command until the job is complete; a killed worker is left to Ray.
"""

import argparse
import csv
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pyarrow.parquet

from bc_sam.data import load_rendered

_WORKER = "ray::MapWorker"
_MOST_SECONDS = 600

# The engine and the process of each kind of kill.
_PLANS = {"local": ("local", "driver"), "ray-driver": ("ray", "driver"), "ray-worker": ("ray", "worker")}


@dataclass
class Kill:
    """One kill, and what came of it."""

    engine: str
    victim: str
    after_s: float
    blocks_before: int
    blocks_lost: int
    outcome: str = ""


def main() -> None:
    """Runs all kills and writes a table of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--task", choices=("predict", "embed", "count"), default="predict")
    parser.add_argument("--cells", type=Path, help="Folder of cells, or fields; by default 260 cells are rendered.")
    parser.add_argument("--model", default="bc-sam-tiny")
    parser.add_argument("--block-size", type=int, default=10)
    parser.add_argument("--backend", default="onnx")
    parser.add_argument("--victims", nargs="+", choices=list(_PLANS), default=list(_PLANS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("kills.csv"))
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory(prefix="bc_sam_kills_") as folder:
        cells = options.cells or _render(Path(folder) / "cells")
        asked = ["--model", options.model, "--backend", options.backend, "--block-size", str(options.block_size)]
        bench = _Bench(Path(folder), [options.task, str(cells), *asked])
        seconds = {
            engine: bench.unbroken(engine) for engine in dict.fromkeys(_PLANS[name][0] for name in options.victims)
        }
        print(f"{len(bench.expected)} files; unbroken, s: {seconds}", flush=True)
        kills: list[Kill] = []
        for number, name in enumerate(options.victims):
            share = (options.kills + number) // len(options.victims)
            engine, victim = _PLANS[name]
            kills += bench.kill(engine, victim, share, seconds[engine])
            _write(kills, options.out)
    failed = [kill for kill in kills if kill.outcome != "same content"]
    print(f"{len(kills)} kills, {len(failed)} of them with other content afterwards")
    sys.exit(bool(failed))


class _Bench:
    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder, self.command = folder, command
        self.expected: dict[str, str] = {}
        self._n_jobs = 0

    def unbroken(self, engine: str) -> float:
        """Runs a whole job, whose content is what is expected of all others; returns its duration, s."""
        start, out = time.monotonic(), self._new_out()
        assert self._start(engine, out).wait(_MOST_SECONDS) == 0
        seconds = time.monotonic() - start
        content = _content(out)
        assert content
        assert content == (self.expected or content), "The engines disagree."
        self.expected = content
        return seconds

    def kill(self, engine: str, victim: str, n_kills: int, seconds: float) -> list[Kill]:
        """Runs jobs, one after the other, until there were so many kills."""
        kills: list[Kill] = []
        while len(kills) < n_kills:
            out, of_job = self._new_out(), []
            while True:
                process = self._start(engine, out)
                if len(kills) + len(of_job) < n_kills and (kill := _kill(process, engine, victim, out, seconds)):
                    of_job.append(kill)
                    if victim == "driver":
                        process.wait()
                        kill.blocks_lost = kill.blocks_before - _n_finished(out)
                        continue
                status = process.wait(_MOST_SECONDS)
                break
            outcome = "same content" if status == 0 and _content(out) == self.expected else f"other ({status})"
            for kill in of_job:
                kill.outcome = outcome
                print(kill, flush=True)
            kills += of_job
        return kills

    def _new_out(self) -> Path:
        self._n_jobs += 1
        return self.folder / f"out{self._n_jobs}"

    def _start(self, engine: str, out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bc_sam", *self.command, "--out", str(out), "--engine", engine]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(self.folder / "log").open("ab"))


def _render(folder: Path) -> Path:
    """Writes rendered cells as files."""
    folder.mkdir()
    for number, image in enumerate(load_rendered("munich", cells_per_class=20)["image"]):
        image.save(folder / f"{number:05d}.png")
    return folder


def _kill(process: subprocess.Popen[bytes], engine: str, victim: str, out: Path, seconds: float) -> Kill | None:
    """Kills a process or one of its workers at a random moment; returns ``None`` if it had ended before."""
    start = time.monotonic()
    after = random.uniform(0, seconds)
    while process.poll() is None:
        if time.monotonic() - start < after:
            time.sleep(0.02)
            continue
        before = _n_finished(out)
        if victim == "driver":
            process.kill()
            return Kill(engine, victim, round(time.monotonic() - start, 1), before, 0)
        if workers := [child for child in _descendants(process.pid) if child.name().startswith(_WORKER[:15])]:
            random.choice(workers).kill()
            return Kill(engine, victim, round(time.monotonic() - start, 1), before, 0)
        time.sleep(0.1)  # there are no workers yet
    return None


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _n_finished(out: Path) -> int:
    """Returns the number of finished files; a block of fields has two."""
    return len(list(out.glob("**/part-*.parquet"))) if out.is_dir() else 0


def _content(out: Path) -> dict[str, str]:
    """Returns the hash of every file of results, after checking that every cell and field is there once."""
    files = sorted(out.glob("**/part-*.parquet"))
    ids: list[tuple[Path, str]] = []
    for file in files:
        table = pyarrow.parquet.read_table(file)
        ids += [(file.parent, value) for value in table[table.column_names[0]].to_pylist()]
    assert len(ids) == len(set(ids)), "A cell is there twice."
    return {file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _write(kills: list[Kill], path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(asdict(kills[0])))
        table.writeheader()
        table.writerows(map(asdict, kills))


if __name__ == "__main__":
    main()
