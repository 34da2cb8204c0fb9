"""Keeps a test session on loopback: no test uses the real Hub, or a developer's token or cache."""

import os
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hub_server.environment import client_environment
from hub_server.running import RunningHub, running_hub


class HubSession:
    """A URL, a home for caches and tokens, and the environment that points to them.

    Create it before anything imports `huggingface_hub`. The port is bound but not listened on until the Hub is used,
    so tests that call the Hub without its fixture are refused at once.

    Attributes:
        endpoint: URL of the Hub.
    """

    def __init__(self) -> None:
        assert "huggingface_hub" not in sys.modules, "huggingface_hub may have read the environment already"
        self._kept = ExitStack()
        folder = tempfile.TemporaryDirectory(prefix="bc-sam-hub-", ignore_cleanup_errors=True)
        self._folder = Path(self._kept.enter_context(folder))
        self._socket = self._kept.enter_context(socket.socket())
        self._socket.bind(("127.0.0.1", 0))
        self._hub: RunningHub | None = None
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        environment = client_environment(self.endpoint, self._folder / "home")
        os.environ.clear()
        os.environ.update(environment)

    def hub(self) -> RunningHub:
        """Returns the Hub, started on first use."""
        if self._hub is None:
            self._hub = self._kept.enter_context(running_hub(self._socket, self._folder / "repositories"))
        return self._hub

    def close(self) -> None:
        """Stops the Hub and removes its data."""
        self._kept.close()
