"""Path parameters, matched before %2F is decoded: a revision such as refs%2Fpr%2F1 is one parameter."""

from typing import ClassVar
from urllib.parse import unquote

from fastapi import APIRouter
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

PATTERNS = {
    "kind": "models|datasets|spaces",
    "repo": "[^/]+/[^/]+?",
    "part": "[^/]+",
    "file": ".+",
    "sha": "[0-9a-f]{64}",
}


class _Part(Convertor[str]):
    regex: ClassVar[str]

    def convert(self, value: str) -> str:
        return unquote(value)


def hub_router() -> APIRouter:
    """Returns a router whose paths may have parameters such as ``{kind:kind}``; see `PATTERNS`."""
    for name, pattern in PATTERNS.items():
        register_url_convertor(name, type(name, (_Part,), {"regex": pattern})())
    return APIRouter()


class RawPaths:
    """Routes by the raw path as sent by the client."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode()}
        await self.app(scope, receive, send)
