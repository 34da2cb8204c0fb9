import pytest
from huggingface_hub.errors import HTTPError

from bc_sam.utils import hub
from bc_sam.utils.hub import with_retries


class RemoteProtocolError(HTTPError):
    """Named like the HTTP library's error for a connection closed by the server."""


class ConnectError(HTTPError):
    """Named like its error for an unreachable server."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(hub, "_WAITS", (0, 0, 0))


def failing(times, error):
    """A call that raises `error` the first `times` times, and the list of its calls."""
    calls = []

    def call():
        calls.append(1)
        if len(calls) <= times:
            raise error
        return len(calls)

    return call, calls


@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_dropped_connection_is_retried(times):
    call, _ = failing(times, RemoteProtocolError("Server disconnected without sending a response."))
    assert with_retries(call) == times + 1


def test_retries_stop_after_the_fourth_attempt():
    call, calls = failing(99, RemoteProtocolError("Server disconnected"))
    with pytest.raises(RemoteProtocolError):
        with_retries(call)
    assert len(calls) == 4


def test_an_unreachable_server_is_not_retried():
    call, calls = failing(1, ConnectError("no route"))
    with pytest.raises(ConnectError):
        with_retries(call)
    assert len(calls) == 1


def test_a_dropped_connection_wrapped_in_another_error_is_retried():
    hidden = RuntimeError("download failed")
    hidden.__cause__ = RemoteProtocolError("Server disconnected")
    call, _ = failing(1, hidden)
    assert with_retries(call) == 2
