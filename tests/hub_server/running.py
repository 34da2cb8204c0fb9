"""Starts the server as a process and controls it from a test."""

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
    """A running Hub.

    Attributes:
        endpoint: Its URL.
        ALICE: Token of alice, a member of the organization lab.
        BOB: Token of bob, who is in no organization.
        CAROL: Read-only token of carol, a member of lab.
    """

    ALICE, BOB, CAROL = ALICE, BOB, CAROL

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def log(self, *, clear: bool = True) -> list[dict[str, Any]]:
        """Returns the calls since the log was last cleared, oldest first; see `hub_server.faults.FaultyHub`."""
        calls: list[dict[str, Any]] = self._call("DELETE" if clear else "GET", "/_test/log")
        return calls

    def fault(self, *faults: dict[str, Any]) -> None:
        """Injects faults, given as the fields of `Fault`, in place of all earlier ones; without any, none remain."""
        self._call("PUT", "/_test/faults", [asdict(Fault(**fault)) for fault in faults])

    def env(self, home: Path | str, token: str | None = None, *, xet: bool = True) -> dict[str, str]:
        """Returns the environment of a client in a separate process."""
        return client_environment(self.endpoint, home, token, xet=xet)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.endpoint + path, data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


@contextmanager
def running_hub(bound: socket, root: Path) -> Iterator[RunningHub]:
    """Runs the Hub on an already bound socket, so that its URL can be known in advance.

    Args:
        bound: Socket that the server process listens on.
        root: Folder of the repositories.

    Raises:
        RuntimeError: If it does not start; its error is on stderr.
    """
    command = [sys.executable, "-m", "hub_server", "--root", str(root), "--fd", str(bound.fileno())]
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        command,
        cwd=tests,
        stdin=subprocess.PIPE,  # closing it stops the server
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
