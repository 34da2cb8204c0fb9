"""Keeps the Hub's client from waiting for ever: it has no timeouts, and sleeps for as long as it is told."""

from typing import Any

from huggingface_hub import constants, get_session
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import parse_ratelimit_headers

from bc_sam.utils.durations import rough_duration

#: Longest time to wait before a request is repeated because the Hub asks for it, seconds.
MOST_WAIT = 60

_BUSY_STATUS = (429, 503)


class HubWaitError(HfHubHTTPError):
    """The Hub asks to wait for longer than `MOST_WAIT` before the next request."""


def bound_waiting() -> None:
    """Bounds the waits of the client's current session; call it before a request, since sessions are replaced."""
    session = get_session()
    hooks = session.event_hooks
    if _set_timeouts not in hooks["request"]:
        session.event_hooks = {
            "request": [*hooks["request"], _set_timeouts],
            "response": [*hooks["response"], _refuse_long_wait],
        }


def is_timeout(error: BaseException) -> bool:
    """Whether an error is a timeout of the client's HTTP library, which may change; hence by name."""
    return type(error).__name__ in ("ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout")


def _set_timeouts(request: Any) -> None:
    """Sets the timeouts that a request lacks: ``HF_HUB_DOWNLOAD_TIMEOUT`` seconds without a byte.

    A commit may take longer, since the Hub verifies large files before it answers.
    """
    seconds = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
    answer = seconds if request.method in ("GET", "HEAD") else max(seconds, 300.0)
    limits = {"connect": seconds, "read": answer, "write": answer, "pool": None}
    given = request.extensions.get("timeout") or {}
    request.extensions["timeout"] = limits | {name: value for name, value in given.items() if value is not None}


def _refuse_long_wait(response: Any) -> None:
    if response.status_code not in _BUSY_STATUS:
        return
    seconds = _requested_wait(response.headers)
    if seconds > MOST_WAIT:
        raise HubWaitError(
            f"The Hub asks to wait for {rough_duration(seconds)} before the next request.", response=response
        )


def _requested_wait(headers: Any) -> int:
    """Returns the number of seconds that a response asks to wait."""
    limit = parse_ratelimit_headers(headers)
    stated = headers.get("retry-after", "")
    return max(limit.reset_in_seconds if limit else 0, int(stated) if stated.isdigit() else 0)
