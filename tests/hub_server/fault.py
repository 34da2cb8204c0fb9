"""Faults that tests can inject."""

from dataclasses import dataclass, field


@dataclass
class Fault:
    """An injected fault.

    Attributes:
        match: Regular expression searched in ``"METHOD /path"`` as sent by the client.
        times: Number of calls to affect.
        status: Respond with this status without doing anything.
        headers: Headers of that response.
        delay: Seconds to wait first.
        trickle: Seconds to wait before each chunk of the request body.
        cut: Handle the request, then drop the connection after this many bytes of the response body, possibly 0.
    """

    match: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    trickle: float = 0
    cut: int | None = None
