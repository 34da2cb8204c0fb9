"""Requests on their way in: too large uploads and addresses are refused; each upload gets a folder of its own."""

import asyncio
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import OWN


class UploadLimit:
    """Refuses what is dropped together if it is too much, which Gradio asks of each file alone, or too slow.

    Args:
        app: What is behind it.
        settings: What is allowed.
    """

    def __init__(self, app: Any, settings: PageSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request."""
        if not _is_upload(scope):
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit():
            await _refuse(send, 411, "The length of the upload is not told.")
        elif int(length) > self.settings.max_upload_bytes:
            await _refuse(send, 413, f"Drop at most {self.settings.max_upload_bytes // 2**20} MB together.")
        else:
            try:
                async with asyncio.timeout(self.settings.seconds):
                    await self.app(scope, receive, send)
            except TimeoutError:
                await _refuse(send, 408, "The upload took too long.")


class SeparateUploads:
    """Gives every uploaded file a place of its own, and tells that one to whoever uploaded it.

    Gradio puts a file where a hash of its content says, so two visitors who drop the same file share it, and removing
    it for one would take it from the other. Where a file cannot be linked, it stays where Gradio put it, and vanishes
    with time; see `bc_sam.space.server.uploads.UploadFolder`.

    Args:
        app: What is behind it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self._under_way = 0
        self._shared: set[Path] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request."""
        if not _is_upload(scope):
            await self.app(scope, receive, send)
            return
        answer: list[dict[str, Any]] = []

        async def keep(message: dict[str, Any]) -> None:
            answer.append(message)

        self._under_way += 1
        try:
            await self.app(scope, receive, keep)
            for message in self._separate(answer):
                await send(message)
        finally:
            self._under_way -= 1
            if not self._under_way:  # else another may just have put the same file there, and not linked it yet
                for path in self._shared:
                    shutil.rmtree(path.parent, ignore_errors=True)
                self._shared.clear()

    def _separate(self, answer: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the answer to an upload with the paths replaced; any other answer as it is."""
        if not answer or answer[0]["status"] != 200:
            return answer
        start, *rest = answer
        paths = json.loads(b"".join(message.get("body", b"") for message in rest))
        body = json.dumps([self._link(Path(path)) for path in paths]).encode()
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        return [start | {"headers": headers}, {"type": "http.response.body", "body": body}]

    def _link(self, path: Path) -> str:
        own = path.parent.parent / f"{OWN}{secrets.token_hex(16)}"
        try:
            own.mkdir()
            os.link(path, own / path.name)
        except OSError:
            return str(path)
        self._shared.add(path)
        return str(own / path.name)


class UploadedFilesOnly:
    """Refuses calls that name an address in the place of an upload: Gradio would fetch it, however large it is.

    Args:
        app: What is behind it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request."""
        if scope["type"] != "http" or scope["method"] != "POST" or _is_upload(scope):
            await self.app(scope, receive, send)
            return
        request = [await receive()]
        while request[-1].get("more_body"):
            request.append(await receive())
        if _names_address(b"".join(message.get("body", b"") for message in request)):
            await _refuse(send, 400, "Upload the file itself.")
            return
        messages = iter(request)

        async def replay() -> Any:
            message = next(messages, None)
            return await receive() if message is None else message

        await self.app(scope, replay, send)


def _names_address(body: bytes) -> bool:
    """Whether a JSON document describes a file, at any depth, by an address instead of a path."""
    try:
        pending = [json.loads(body)]
    except (ValueError, RecursionError):
        return False  # no call, which the application will say
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "://" in str(value.get("path", "")):
                return True
            pending += value.values()
        elif isinstance(value, list):
            pending += value
    return False


def _is_upload(scope: Any) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith("/upload")


async def _refuse(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
