"""The server's process: python -m hub_server --root DIR [--port N] prints READY and its address, then serves."""

import argparse
import os
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from hub_server.hub import Hub
from hub_server.server import build


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m hub_server")
    parser.add_argument("--root", type=Path, required=True, help="folder of the repositories")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument("--fd", type=int, help="a bound socket, inherited; serves until the input ends")
    options = parser.parse_args()
    if options.fd is None:
        listening = socket.create_server(("127.0.0.1", options.port))
    else:
        listening = socket.socket(fileno=options.fd)
        listening.listen()
    os.environ.setdefault("HF_XET_CACHE", str(options.root / "client"))  # the server is its own client, see xet.py
    endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
    app = build(Hub(options.root, endpoint))
    print(f"READY {endpoint}", flush=True)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, timeout_keep_alive=60)
    )
    if options.fd is not None:
        threading.Thread(target=_end_with_parent, args=[server], daemon=True).start()
    server.run(sockets=[listening])


def _end_with_parent(server: uvicorn.Server) -> None:
    """Stops the server at the end of standard input, when the parent closes it or dies."""
    sys.stdin.read()
    server.should_exit = True


if __name__ == "__main__":
    main()
