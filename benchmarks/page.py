"""Time and memory of the page, over its API: python benchmarks/page.py CELLS --page onnx=.:onnx torch=.:torch.

Serves each page from its source tree with its backend (the default one if none is given), such as another build in a
``git worktree``, and asks all of them in turn: for one cell, by several clients at once, and for slides of many
images. The CPU seconds of a server depend less than its seconds on what else the machine does.

CELLS is a folder of images of one laboratory; a slide repeats them until it has enough.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from gradio_client import Client, handle_file
from timing import print_table, spread

from bc_sam.data.images import find_images

_START_SECONDS = 120


@dataclass
class Page:
    """A served page and what was measured of it.

    Attributes:
        name: Its name in the table.
        process: The server.
        address: Where it listens.
        start: Seconds until it answered.
        memory: Resident memory, MiB, after each step.
        seconds: Seconds of each request of a kind.
        cpu: CPU seconds of the server for each of them.
        answers: The labels of each slide.
    """

    name: str
    process: psutil.Process
    address: str
    start: float
    memory: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    answers: list[list[str | None]] = field(default_factory=list)

    def measure(self, kind: str, ask: Callable[[], Any]) -> Any:
        """Times a request, notes the memory after it, and returns its answer."""
        cpu, start = self.cpu_seconds(), time.perf_counter()
        answer = ask()
        self.seconds.setdefault(kind, []).append(time.perf_counter() - start)
        self.cpu.setdefault(kind, []).append(self.cpu_seconds() - cpu)
        self.memory[f"{kind} {len(self.seconds[kind])}"] = self.resident()
        return answer

    def cpu_seconds(self) -> float:
        """Returns the CPU seconds of the server so far."""
        times = self.process.cpu_times()
        return times.user + times.system

    def resident(self) -> int:
        """Returns the resident memory of the server, MiB."""
        return self.process.memory_info().rss // 2**20


def main() -> None:
    """Serves the pages, asks them in turn, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path, help="folder of images of one laboratory")
    parser.add_argument("--page", nargs="+", default=["torch=.:torch", "onnx=.:onnx"], metavar="NAME=TREE[:BACKEND]")
    parser.add_argument("--images", type=int, default=1000, help="images of a slide")
    parser.add_argument("--slides", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32, help="clients that ask for one cell at once")
    options = parser.parse_args()
    files = find_images(options.cells)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        slide = write_slide(files, options.images, folder / "slide.zip")
        pages = [stack.enter_context(served(*read_page(page), folder)) for page in options.page]
        clients = {page.name: Client(page.address, verbose=False, download_files=str(folder)) for page in pages}
        for page in pages:
            page.memory["start"] = page.resident()
        for number in range(6):
            kind = "cell" if number else "first cell"
            for page in pages:
                ask_for_cell(page, clients[page.name], files[number % len(files)], kind)
        for page in pages:
            page.measure("clients", lambda page=page: ask_at_once(clients[page.name], files, options.clients))
        for _ in range(options.slides):
            for page in pages:
                ask_for_slide(page, clients[page.name], slide)
        report(pages, options.images, options.clients)


def read_page(given: str) -> tuple[str, Path, str | None]:
    """Returns name, source tree and backend of ``NAME=TREE[:BACKEND]``."""
    name, _, rest = given.partition("=")
    tree, _, backend = rest.partition(":")
    return name, Path(tree).resolve(), backend or None


def write_slide(files: Sequence[Path], n: int, path: Path) -> Path:
    """Writes a zip of n images, each file as often as needed."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(n):
            file = files[number % len(files)]
            archive.write(file, f"{number:05}{file.suffix}")
    return path


@contextmanager
def served(name: str, tree: Path, backend: str | None, folder: Path) -> Iterator[Page]:
    """Serves a page of a source tree in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bc_sam", "serve", "--port", str(port)]
    command += ["--backend", backend] if backend else []
    environment = os.environ | {"PYTHONPATH": str(tree), "TMPDIR": str(folder), "BROWSER": "true"}
    begun = time.perf_counter()
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_up(server, port)
            yield Page(name, psutil.Process(server.pid), address, time.perf_counter() - begun)
        finally:
            server.terminate()


def wait_until_up(server: "subprocess.Popen[bytes]", port: int) -> None:
    """Waits until a server listens."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as there:
            if there.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("A page did not start; see its error above.")


def ask_for_cell(page: Page, client: Client, file: Path, kind: str) -> None:
    """Asks for the name of one cell."""
    page.measure(kind, lambda: client.predict(handle_file(file), api_name="/name_cell"))


def ask_at_once(client: Client, files: Sequence[Path], n: int) -> None:
    """Asks for the names of n cells, all at once."""
    with ThreadPoolExecutor(n) as pool:
        list(pool.map(lambda i: client.predict(handle_file(files[i % len(files)]), api_name="/name_cell"), range(n)))


def ask_for_slide(page: Page, client: Client, slide: Path) -> None:
    """Asks for the names of the cells of a slide."""
    answer = page.measure("slide", lambda: client.predict([handle_file(slide)], api_name="/name_slide"))
    page.answers.append([cell.get("name") for cell in answer["cells"]])


def report(pages: Sequence[Page], n_images: int, n_clients: int) -> None:
    """Prints what was measured of each page, and how many labels of the slide are those of the first one."""
    header = [""] + [page.name for page in pages]
    first = pages[0]
    seconds = {page.name: page.seconds["slide"] for page in pages}
    cpu = {page.name: page.cpu["slide"] for page in pages}
    rows: list[list[object]] = [
        ["start, s", *(f"{page.start:.1f}" for page in pages)],
        ["the first cell, s", *(f"{page.seconds['first cell'][0]:.2f}" for page in pages)],
        ["one cell, s", *(spread(page.seconds["cell"], digits=2) for page in pages)],
        [f"{n_clients} clients at once, s", *(f"{page.seconds['clients'][0]:.1f}" for page in pages)],
        [f"slide of {n_images:,}, s", *(spread(values) for values in seconds.values())],
        [f"slide of {n_images:,}, CPU s", *(spread(values) for values in cpu.values())],
        ["CPU ms per image", *(f"{1000 * statistics.median(values) / n_images:.1f}" for values in cpu.values())],
        ["of it, relative to the first", *(ratio_of(cpu[first.name], values) for values in cpu.values())],
        ["labels as the first", *(f"{agreement(first.answers[0], page.answers[0]):.1%}" for page in pages)],
        ["memory at the start, MiB", *(page.memory["start"] for page in pages)],
        ["after a cell", *(page.memory["first cell 1"] for page in pages)],
        [f"after {n_clients} clients", *(page.memory["clients 1"] for page in pages)],
    ]
    for number in range(1, len(first.seconds["slide"]) + 1):
        rows.append([f"after slide {number}", *(page.memory[f"slide {number}"] for page in pages)])
    print_table(header, rows)


def ratio_of(values: Sequence[float], others: Sequence[float]) -> str:
    """Returns the median of the quotients of others by values as text."""
    return f"{statistics.median(b / a for a, b in zip(values, others, strict=True)):.2f}"


def agreement(labels: Sequence[str | None], others: Sequence[str | None]) -> float:
    """Returns the share of equal labels."""
    return statistics.mean(one == other for one, other in zip(labels, others, strict=True))


if __name__ == "__main__":
    main()
