"""What a test may demand to go wrong."""

from dataclasses import dataclass, field


@dataclass
class Fault:
    """What goes wrong.

    Attributes:
        match: Pattern that is searched in ``"METHOD /path"``, as the client sent it.
        times: How many calls it befalls.
        status: Answer this status, and do nothing.
        headers: Headers of that answer.
        delay: Seconds to wait first.
        trickle: Seconds to wait before each piece of the request's body.
        cut: Do the work, then break the connection after that many bytes of the answer's body; 0 loses the answer.
    """

    match: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    trickle: float = 0
    cut: int | None = None
