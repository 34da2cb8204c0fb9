"""Uploads on their way in: too much is refused, and each gets a place of its own, so that it can be removed alone."""

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
        start: dict[str, Any] = {}
        body = b""

        async def send_later(message: dict[str, Any]) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                answer = self._separated(body) if start["status"] == 200 else body
                other = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                length = (b"content-length", str(len(answer)).encode())
                await send(start | {"headers": [*other, length]})
                await send({"type": "http.response.body", "body": answer})

        self._under_way += 1
        try:
            await self.app(scope, receive, send_later)
        finally:
            self._under_way -= 1
            if not self._under_way:  # else another may just have put the same file there, and not linked it yet
                for path in self._shared:
                    shutil.rmtree(path.parent, ignore_errors=True)
                self._shared.clear()

    def _separated(self, body: bytes) -> bytes:
        return json.dumps([self._link(Path(path)) for path in json.loads(body)]).encode()

    def _link(self, path: Path) -> str:
        own = path.parent.parent / f"{OWN}{secrets.token_hex(16)}"
        try:
            own.mkdir()
            os.link(path, own / path.name)
        except OSError:
            return str(path)
        self._shared.add(path)
        return str(own / path.name)


def _is_upload(scope: Any) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith("/upload")


async def _refuse(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
