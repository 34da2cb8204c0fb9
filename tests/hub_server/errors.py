"""The exception of the Hub, with the response body and the header that identifies the kind of error."""

from typing import Any


class HubError(Exception):
    """An error response.

    Attributes:
        status: HTTP status.
        body: JSON body of the response.
        headers: ``X-Error-Code`` determines which exception the client raises.
    """

    def __init__(self, status: int, message: str, code: str | None = None, **body: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": message, **body}
        self.headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
