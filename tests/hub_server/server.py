"""The Hub as one application."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from hub_server import commits, faults, files, repositories, revisions, xet
from hub_server.errors import HubError
from hub_server.faults import FaultyHub
from hub_server.hub import Hub
from hub_server.routing import RawPaths


async def _answer(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HubError)
    return JSONResponse(error.body, error.status, error.headers)


def build(hub: Hub) -> ASGIApp:
    """Returns the application with all routes, the request log and the faults."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.add_exception_handler(HubError, _answer)
    for module in (repositories, revisions, commits, files, xet, faults):
        app.include_router(module.router)
    app.state.hub = hub
    faulty = FaultyHub(RawPaths(app))
    app.state.faulty = faulty
    return faulty
