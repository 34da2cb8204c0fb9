"""Does the memory of the page grow with visitors? Serves it, sends good and bad uploads, and samples its memory.

``python benchmarks/soak.py [SECONDS [CLIENTS [CSV]]]``: by default 2,400 s and 32 clients, written to ``soak.csv``.
"""

import csv
import io
import os
import random
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

from bc_sam.data.datasets.rendered import LABORATORIES, render_cell

SERVER = """
import sys
from bc_sam.space.page import serve
serve("bc-sam-tiny", server_port=int(sys.argv[1]), quiet=True)
"""
PORT = 7867
INTERVAL = 5  # seconds between samples


def png(image: Image.Image) -> bytes:
    """Returns the bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def uploads() -> list[tuple[str, bytes]]:
    """Returns good and bad uploads: cells, a zip of cells, a large image, too large a one, and what is no image."""
    random_state = np.random.default_rng(0)
    laboratory = next(iter(LABORATORIES))
    cells = [
        png(Image.fromarray(render_cell(label, laboratory, random_state)[0])) for label in ("eosinophil", "monocyte")
    ]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(8):
            file.writestr(f"{number}.png", cells[number % 2])
    return [
        *((f"cell_{number}.png", cell) for number, cell in enumerate(cells)),
        ("slide.zip", archive.getvalue()),
        ("large.png", png(Image.new("RGBA", (3000, 3000), "white"))),
        ("too_large.png", png(Image.new("L", (7000, 7000)))),
        ("broken.png", cells[0][: len(cells[0]) // 2]),
        ("text.png", b"no image"),
    ]


def visit(address: str, files: list[tuple[str, bytes]], stop: threading.Event, answers: list[int]) -> None:
    """Opens sessions, uploads a file in each, and leaves; some leave before they are answered."""
    while not stop.is_set():
        name, content = random.choice(files)
        call, wrap = ("name_slide", list) if name.endswith(".zip") else ("name_cell", lambda paths: paths[0])
        try:
            with httpx.Client(base_url=f"{address}/gradio_api", timeout=120) as client:
                paths = client.post("/upload", files={"files": (name, content)}).json()
                given = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
                event = client.post(f"/call/{call}", json={"data": [wrap(given), "", 0.5, 0.99, []]}).json()[
                    "event_id"
                ]
                if random.random() < 0.8:
                    client.get(f"/call/{call}/{event}")
            answers.append(1)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            answers.append(0)


def megabytes(process: psutil.Process) -> int:
    """Returns the resident memory of a process."""
    return process.memory_info().rss // 2**20


def main(seconds: float = 2400, clients: int = 32, out: Path = Path("soak.csv")) -> None:
    """Runs the soak and prints the curve."""
    address = f"http://127.0.0.1:{PORT}"
    environment = os.environ | {"BROWSER": "true"}  # a page that is served opens a browser
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(PORT)], env=environment)
    stop, answers, samples = threading.Event(), [], []
    try:
        process = psutil.Process(server.pid)
        while server.poll() is None:
            try:
                httpx.get(address, timeout=5)
                break
            except httpx.HTTPError:
                time.sleep(1)
        files = uploads()
        for _ in range(clients):
            threading.Thread(target=visit, args=(address, files, stop, answers), daemon=True).start()
        start = time.monotonic()
        with out.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["seconds", "megabytes", "visits", "failed"])
            while (passed := time.monotonic() - start) < seconds and server.poll() is None:
                samples.append((round(passed), megabytes(process), len(answers), answers.count(0)))
                table.writerow(samples[-1])
                file.flush()
                time.sleep(INTERVAL)
    finally:
        stop.set()
        server.terminate()
        server.wait(60)
    most = max(sample[1] for sample in samples)
    for passed, memory, visits, failed in samples[:: max(1, len(samples) // 40)]:
        print(f"{passed:>6} s {memory:>6} MB {visits:>6} visits {failed:>4} failed  {'#' * (60 * memory // most)}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*(kind(value) for kind, value in zip((float, int, Path), given, strict=False)))
