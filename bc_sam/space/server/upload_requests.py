"""Middleware for uploads: rejects oversized uploads and URLs, and gives each upload its own folder."""

import asyncio
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import UPLOAD_PREFIX, stored_bytes


class UploadLimit:
    """Rejects uploads that are too large, alone or with those of other visitors, or that take too long.

    Gradio only limits each file.

    Args:
        app: The wrapped ASGI application.
        settings: Limits of the page.
    """

    def __init__(self, app: Any, settings: PageSettings) -> None:
        self.app = app
        self.settings = settings
        self._n_arriving = 0  # bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handles a request."""
        if not _is_upload(scope):
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit():
            await _reject(send, 411, "The upload has no Content-Length header.")
        elif int(length) > self.settings.max_upload_bytes:
            await _reject(
                send,
                413,
                f"The upload is too large. Drop at most {self.settings.max_upload_bytes // 2**20} MB at once.",
            )
        elif not await self._has_room(int(length)):
            await _reject(
                send, 503, "The page is holding too many uploads of others at the moment. Try again in a few minutes."
            )
        else:
            try:
                async with asyncio.timeout(self.settings.seconds):
                    await self.app(scope, receive, send)
            except TimeoutError:
                await _reject(send, 408, "The upload took too long. Drop fewer files.")
            finally:
                self._n_arriving -= int(length)

    async def _has_room(self, n_bytes: int) -> bool:
        """Whether an upload fits beside those of other visitors; if so, its size is reserved until it has arrived."""
        self._n_arriving += n_bytes
        # What has arrived of unfinished uploads counts twice, so that the sum is never too small.
        if self._n_arriving + await asyncio.to_thread(stored_bytes) <= self.settings.max_stored_bytes:
            return True
        self._n_arriving -= n_bytes
        return False


class SeparateUploads:
    """Gives every uploaded file its own path and returns that path to the client.

    Gradio stores a file under a hash of its content, so two visitors who drop the same file share it, and removing it
    for one would remove it for the other. A file that cannot be linked stays where Gradio stored it until it expires;
    see `bc_sam.space.server.uploads.UploadFolder`.

    Args:
        app: The wrapped ASGI application.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self._n_active = 0
        self._originals: set[Path] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handles a request."""
        if not _is_upload(scope):
            await self.app(scope, receive, send)
            return
        response: list[dict[str, Any]] = []

        async def buffer(message: dict[str, Any]) -> None:
            response.append(message)

        self._n_active += 1
        try:
            await self.app(scope, receive, buffer)
            for message in self._separate(response):
                await send(message)
        finally:
            self._n_active -= 1
            if not self._n_active:  # another upload of the same file may not be linked yet
                for path in self._originals:
                    shutil.rmtree(path.parent, ignore_errors=True)
                self._originals.clear()

    def _separate(self, response: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the response to an upload with the paths replaced; any other response unchanged."""
        if not response or response[0]["status"] != 200:
            return response
        start, *rest = response
        paths = json.loads(b"".join(message.get("body", b"") for message in rest))
        body = json.dumps([self._link(Path(path)) for path in paths]).encode()
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        return [start | {"headers": headers}, {"type": "http.response.body", "body": body}]

    def _link(self, path: Path) -> str:
        folder = path.parent.parent / f"{UPLOAD_PREFIX}{secrets.token_hex(16)}"
        try:
            folder.mkdir()
            os.link(path, folder / path.name)
        except OSError:
            return str(path)
        self._originals.add(path)
        return str(folder / path.name)


class UploadedFilesOnly:
    """Rejects API calls with a URL instead of an upload, which Gradio would fetch whatever its size.

    Args:
        app: The wrapped ASGI application.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handles a request."""
        if scope["type"] != "http" or scope["method"] != "POST" or _is_upload(scope):
            await self.app(scope, receive, send)
            return
        request = [await receive()]
        while request[-1].get("more_body"):
            request.append(await receive())
        if _contains_url(b"".join(message.get("body", b"") for message in request)):
            await _reject(send, 400, "URLs are not accepted. Upload the file itself.")
            return
        messages = iter(request)

        async def replay() -> Any:
            message = next(messages, None)
            return await receive() if message is None else message

        await self.app(scope, replay, send)


def _contains_url(body: bytes) -> bool:
    """Whether a JSON document describes a file, at any depth, by a URL instead of a path."""
    try:
        pending = [json.loads(body)]
    except (ValueError, RecursionError):
        return False  # not JSON: the application reports it
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


async def _reject(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
