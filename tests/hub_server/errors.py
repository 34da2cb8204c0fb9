"""The one exception of the Hub: what the client is told, and the header by which it knows the kind of error."""

from typing import Any


class HubError(Exception):
    """An answer other than success.

    Attributes:
        status: HTTP status.
        body: JSON of the answer.
        headers: ``X-Error-Code`` is what tells the client which of its exceptions to raise.
    """

    def __init__(self, status: int, message: str, code: str | None = None, **body: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": message, **body}
        self.headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
