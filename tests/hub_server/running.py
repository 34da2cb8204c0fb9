"""Starts the server as a process and steers it from a test."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from socket import socket
from typing import Any

from hub_server.environment import client_environment
from hub_server.fault import Fault
from hub_server.users import ALICE, BOB, CAROL


class RunningHub:
    """A Hub that answers.

    Attributes:
        endpoint: Its address.
        ALICE: Token of alice, a member of the organisation lab.
        BOB: Token of bob, who belongs to nobody else.
        CAROL: Token of carol, a member of lab, good for reading only.
    """

    ALICE, BOB, CAROL = ALICE, BOB, CAROL

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def log(self, *, clear: bool = True) -> list[dict[str, Any]]:
        """Returns the calls since the last time, oldest first; see `hub_server.faults.FaultyHub`."""
        calls: list[dict[str, Any]] = self._call("DELETE" if clear else "GET", "/_test/log")
        return calls

    def fault(self, *faults: dict[str, Any]) -> None:
        """Makes calls fail, in place of all earlier faults; each has the fields of `Fault`. With none, all is well."""
        self._call("PUT", "/_test/faults", [asdict(Fault(**fault)) for fault in faults])

    def env(self, home: Path | str, token: str | None = None, *, xet: bool = True) -> dict[str, str]:
        """Returns the environment of a client that shall run in a process of its own."""
        return client_environment(self.endpoint, home, token, xet=xet)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.endpoint + path, data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


@contextmanager
def running_hub(bound: socket, root: Path) -> Iterator[RunningHub]:
    """Runs the Hub on a socket that is bound already, so that its address can be known before.

    Args:
        bound: Socket; the server's process listens on it.
        root: Folder of the repositories.

    Raises:
        RuntimeError: If it does not start; its own words are in the output.
    """
    command = [sys.executable, "-m", "hub_server", "--root", str(root), "--fd", str(bound.fileno())]
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        command,
        cwd=tests,
        stdin=subprocess.PIPE,  # its end is the server's
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[bound.fileno()],
    )
    with process:
        assert process.stdout is not None
        word, _, endpoint = process.stdout.readline().strip().partition(" ")
        if word != "READY":
            raise RuntimeError("The Hub did not start; its error is on stderr.")
        yield RunningHub(endpoint)
