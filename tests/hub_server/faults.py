"""A wrapper of the application that logs every call and injects faults."""

import asyncio
import re
import traceback
from collections import deque
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub_server.fault import Fault

router = APIRouter()
_OWN = "/_test/"
_TELEMETRY = "POST /_cas/v1/telemetry"  # sent by hf_xet in the background, not by the test


class FaultyHub:
    """The application with a request log and injected faults.

    Attributes:
        log: A record of each call: ``line``, ``host``, ``auth`` (whether a token was sent), ``range`` and ``status``;
            0 before the response and -1 after a broken connection.
        faults: The first matching fault with calls left is applied.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.log: deque[dict[str, Any]] = deque(maxlen=20_000)
        self.faults: list[Fault] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_OWN):
            return await self.app(scope, receive, send)
        record = _record(scope)
        if record["line"] != _TELEMETRY:
            self.log.append(record)
        fault = self._next_fault(record["line"])
        send = _Watched(send, record, fault.cut)
        try:
            await asyncio.sleep(fault.delay)
            if fault.status is not None:
                return await JSONResponse({"error": "injected"}, fault.status, fault.headers)(scope, receive, send)
            await self.app(scope, _slowed(receive, fault.trickle), send)
        except (ConnectionResetError, ClientDisconnect):
            record["status"] = -1  # returning without a full response closes the connection
        except asyncio.CancelledError:
            record["status"] = -1  # the server is being stopped
        except Exception:
            traceback.print_exc()  # a bug in this server, answered with 500

    def _next_fault(self, line: str) -> Fault:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.match, line):
                fault.times -= 1
                return fault
        return Fault(match="")


def _record(scope: Scope) -> dict[str, Any]:
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    return {
        "line": f"{scope['method']} {scope['raw_path'].decode()}",
        "host": headers.get("host"),
        "auth": "authorization" in headers,
        "range": headers.get("range"),
        "status": 0,
    }


def _slowed(receive: Receive, seconds: float) -> Receive:
    async def slow() -> Message:
        await asyncio.sleep(seconds)
        return await receive()

    return slow if seconds else receive


class _Watched:
    """Passes a response on, records its status, and breaks the connection after `cut` bytes of the body.

    Args:
        send: The callable that sends a message to the client.
        record: The record of the call.
        cut: Number of bytes; ``None`` for a whole response.
    """

    def __init__(self, send: Send, record: dict[str, Any], cut: int | None) -> None:
        self._send = send
        self._record = record
        self._left = float("inf") if cut is None else cut

    async def __call__(self, message: Message) -> None:
        self._record["status"] = message.get("status", self._record["status"])
        body = message.get("body", b"")
        if len(body) > self._left:
            await self._send({"type": "http.response.body", "body": body[: int(self._left)], "more_body": True})
            raise ConnectionResetError
        self._left -= len(body)
        await self._send(message)


@router.get("/_test/log")
async def read_log(request: Request) -> list[dict[str, Any]]:
    """Returns the calls since the log was last cleared."""
    return list(request.app.state.faulty.log)


@router.delete("/_test/log")
async def take_log(request: Request) -> list[dict[str, Any]]:
    """Returns the calls since the log was last cleared, and clears it."""
    log = request.app.state.faulty.log
    calls = list(log)
    log.clear()
    return calls


@router.put("/_test/faults")
async def set_faults(request: Request, faults: Annotated[list[Fault], Body()]) -> None:
    """Replaces all faults."""
    request.app.state.faulty.faults = faults
