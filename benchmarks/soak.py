"""Does the memory of the page grow with visitors? Serves it, sends good and bad uploads, and samples its memory.

``python benchmarks/soak.py [--backend onnx]``: by default 2,400 s and 32 clients, written to ``soak.csv``.
"""

import argparse
import csv
import io
import os
import random
import secrets
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
serve("bc-sam-tiny", {"backend": sys.argv[2]}, server_port=int(sys.argv[1]), quiet=True)
"""
PORT = 7867
INTERVAL = 5  # seconds between samples
COUNTED = ("call", "session", "wrong")
STAY = 0.8  # share of the visitors who wait for the answer
GOOD = ("cell_0.png", "cell_1.png", "slide.zip", "large.png")


def png(image: Image.Image) -> bytes:
    """Returns the bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def uploads() -> list[tuple[str, bytes]]:
    """Returns good and bad uploads: cells, a zip of cells, a large image, too large a one, and what is no image."""
    random_state = np.random.default_rng(0)
    laboratory = next(iter(LABORATORIES.values()))
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


def visit(address: str, files: list[tuple[str, bytes]], stop: threading.Event, visits: list[str]) -> None:
    """Visits the page with one file after another, through the API or in a session of its own as a browser does."""
    while not stop.is_set():
        name, content = random.choice(files)
        way, kind = random.choice(((call, "call"), (open_session, "session")))
        try:
            with httpx.Client(base_url=f"{address}/gradio_api", timeout=300) as client:
                answer = way(client, address, name, content)
            if stop.is_set():  # the server is being ended
                break
            visits.append(kind)
            if is_wrong(name, answer):
                visits.append("wrong")
        except (httpx.HTTPError, ValueError, KeyError) as error:
            if stop.is_set():
                break
            visits.append("wrong")
            print(f"{kind} with {name}: {error!r}", file=sys.stderr)


def is_wrong(name: str, answer: str) -> bool:
    """Returns whether an answer says that the page failed, or a good file has none; and prints it."""
    wrong = "went wrong" in answer or (name in GOOD and ("event: error" in answer or "bc-bad" in answer))
    if wrong:
        print(f"{name}: {answer[:500]}", file=sys.stderr)
    return wrong


def upload(client: httpx.Client, name: str, content: bytes) -> list[dict[str, object]]:
    """Uploads a file; returns what stands for it in a call."""
    paths = client.post("/upload", files={"files": (name, content)}).raise_for_status().json()
    return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]


def call(client: httpx.Client, address: str, name: str, content: bytes) -> str:
    """Asks the API about a file; sometimes leaves before it is answered."""
    data = [upload(client, name, content), "", 0.5, 0.99, []]
    data, route = ([*data, False], "name_slide") if name.endswith(".zip") else ([data[0][0], *data[1:]], "name_cell")
    event = client.post(f"/call/{route}", json={"data": data}).raise_for_status().json()["event_id"]
    return client.get(f"/call/{route}/{event}").text if random.random() < STAY else ""


def open_session(client: httpx.Client, address: str, name: str, content: bytes) -> str:
    """Opens the page, drops a file on the tab for slides, and leaves; sometimes before it is answered."""
    client.get(address).raise_for_status()
    config = client.get(f"{address}/config").json()
    shown = {component["id"]: component for component in config["components"]}
    (drop,) = (
        event
        for event in config["dependencies"]
        if event["targets"]
        and event["targets"][0][1] == "upload"
        and shown[event["targets"][0][0]]["props"].get("file_count") == "multiple"
        and event["inputs"]
    )
    values = [shown[number]["props"].get("value") for number in drop["inputs"][1:]]
    session = secrets.token_hex(8)
    joined = {
        "data": [upload(client, name, content), *("" if value is None else value for value in values)],
        "fn_index": drop["id"],
        "trigger_id": drop["targets"][0][0],
        "session_hash": session,
    }
    with client.stream("GET", f"/heartbeat/{session}"):  # its end tells the server that the visitor has left
        client.post("/queue/join", json=joined).raise_for_status()
        stays = random.random() < STAY
        with client.stream("GET", f"/queue/data?session_hash={session}") as events:
            for event in events.iter_lines():
                if "process_completed" in event:
                    return event
                if "process_starts" in event and not stays:
                    break
    return ""


def megabytes(process: psutil.Process) -> int:
    """Returns the resident memory of a process."""
    return process.memory_info().rss // 2**20


def main() -> None:
    """Runs the soak and prints the curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2400)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--backend", default="torch", help="What computes the page: torch, onnx or openvino.")
    parser.add_argument("--out", type=Path, default=Path("soak.csv"), help="Table of the samples.")
    soak(**vars(parser.parse_args()))


def soak(seconds: float, clients: int, backend: str, out: Path) -> None:
    """Runs the soak and prints the curve."""
    address = f"http://127.0.0.1:{PORT}"
    environment = os.environ | {"BROWSER": "true"}  # a page that is served opens a browser
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(PORT), backend], env=environment)
    stop, visits, samples = threading.Event(), [], []
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
            threading.Thread(target=visit, args=(address, files, stop, visits), daemon=True).start()
        start = time.monotonic()
        with out.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["seconds", "megabytes", *COUNTED])
            while (passed := time.monotonic() - start) < seconds and server.poll() is None:
                samples.append((round(passed), megabytes(process), *map(visits.count, COUNTED)))
                table.writerow(samples[-1])
                file.flush()
                time.sleep(INTERVAL)
    finally:
        stop.set()
        server.terminate()
        server.wait(60)
    most = max(sample[1] for sample in samples)
    for passed, memory, calls, sessions, wrong in samples[:: max(1, len(samples) // 40)]:
        bar = "#" * (60 * memory // most)
        print(f"{passed:>6} s {memory:>6} MB {calls:>6} calls {sessions:>6} sessions {wrong:>4} wrong  {bar}")


if __name__ == "__main__":
    main()
