import pytest
from huggingface_hub.errors import HTTPError

from bc_sam.utils import hub
from bc_sam.utils.hub import with_retries


class RemoteProtocolError(HTTPError):
    """As the client's client names a connection that the server has closed."""


class ConnectError(HTTPError):
    """As it names a server that cannot be reached."""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(hub, "_WAITS", (0, 0, 0))


def failing(times, error):
    """A call that fails so many times, and counts."""
    calls = []

    def call():
        calls.append(1)
        if len(calls) <= times:
            raise error
        return len(calls)

    return call, calls


@pytest.mark.parametrize("times", [0, 1, 3])
def test_a_server_that_hangs_up_is_asked_again(times):
    call, _ = failing(times, RemoteProtocolError("Server disconnected without sending a response."))
    assert with_retries(call) == times + 1


def test_but_not_for_ever():
    call, calls = failing(99, RemoteProtocolError("Server disconnected"))
    with pytest.raises(RemoteProtocolError):
        with_retries(call)
    assert len(calls) == 4


def test_one_that_cannot_be_reached_is_not():
    call, calls = failing(1, ConnectError("no route"))
    with pytest.raises(ConnectError):
        with_retries(call)
    assert len(calls) == 1


def test_what_the_client_hides_behind_another_error_is_seen():
    hidden = RuntimeError("download failed")
    hidden.__cause__ = RemoteProtocolError("Server disconnected")
    call, _ = failing(1, hidden)
    assert with_retries(call) == 2
