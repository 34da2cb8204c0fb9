"""The server's process: python -m hub_server --root DIR [--port N] prints READY and its address, then serves."""

import argparse
import os
import socket
from pathlib import Path

import uvicorn

from hub_server.hub import Hub
from hub_server.server import build


def main() -> None:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m hub_server")
    parser.add_argument("--root", type=Path, required=True, help="folder of the repositories")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument("--fd", type=int, help="a bound socket that was inherited, instead of a port")
    options = parser.parse_args()
    if options.fd is None:
        server = socket.create_server(("127.0.0.1", options.port))
    else:
        server = socket.socket(fileno=options.fd)
        server.listen()
    os.environ.setdefault("HF_XET_CACHE", str(options.root / "client"))  # we are a client of ourselves: see xet.py
    endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
    app = build(Hub(options.root, endpoint))
    print(f"READY {endpoint}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)).run(sockets=[server])


if __name__ == "__main__":
    main()
