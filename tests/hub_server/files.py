"""Routes of file contents: resolve, and the storage behind it on another origin, with signed URLs."""

import hashlib
import os
import secrets
import time
from pathlib import PurePosixPath
from typing import Any

from fastapi import Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from hub_server import xet
from hub_server.errors import HubError
from hub_server.hub import Hub
from hub_server.rights import Downloadable, TheHub, Writable
from hub_server.routing import hub_router
from hub_server.storage import Repo

router = hub_router()
_STORAGE = "/_lfs/{kind:kind}/{repo_id:repo}"


@router.api_route("/{repo_id:repo}/resolve/{revision:part}/{path:file}", methods=["GET", "HEAD"])
@router.api_route("/{kind:kind}/{repo_id:repo}/resolve/{revision:part}/{path:file}", methods=["GET", "HEAD"])
async def resolve(hub: TheHub, repo: Downloadable, revision: str, path: str) -> Response:
    """Returns a small file, or redirects to a large one."""
    sha = repo.sha_of(revision)
    blob = repo.commit(sha).tree.get(path)
    if blob is None:
        error = HubError(404, "Entry not found", "EntryNotFound")
        error.headers["X-Repo-Commit"] = sha  # the client caches missing entries by commit
        raise error
    headers = {"X-Repo-Commit": sha, "ETag": f'"{blob.etag}"'}
    if not blob.lfs:
        return FileResponse(repo.object(blob.sha256), headers=headers, filename=PurePosixPath(path).name)
    headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(blob.size)}
    if blob.xet:
        headers |= xet.download_headers(hub, repo, sha, blob.xet)
    return RedirectResponse(hub.signed_url(repo, "download", blob.sha256), 302, headers)


@router.post("/{repo_id:repo}.git/info/lfs/objects/batch")
@router.post("/{kind:kind}/{repo_id:repo}.git/info/lfs/objects/batch")
async def batch(request: Request, hub: TheHub, repo: Writable) -> JSONResponse:
    """Returns upload URLs of large files; stored files need no action."""
    answer: list[dict[str, Any]] = []
    for wanted in (await request.json())["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        answer.append({"oid": oid, "size": size})
        if not _is_stored(repo, oid, size):
            urls = {step: {"href": hub.signed_url(repo, step, oid)} for step in ("upload", "verify")}
            answer[-1]["actions"] = urls
    return JSONResponse({"transfer": "basic", "objects": answer}, media_type="application/vnd.git-lfs+json")


def _is_stored(repo: Repo, oid: str, size: int) -> bool:
    file = repo.object(oid)
    return file.exists() and file.stat().st_size == size


def _signed(request: Request, hub: Hub, operation: str) -> Repo:
    """Returns the repository of a storage URL, authorized by its signature only."""
    kind, repo_id, oid = (request.path_params[name] for name in ("kind", "repo_id", "oid"))
    expires = int(request.query_params.get("expires", 0))
    signature = hub.sign(operation, kind, repo_id, oid, expires)
    if expires < time.time() or signature != request.query_params.get("signature"):
        raise HubError(403, "The signature is wrong or has expired")
    return hub.repo(kind, repo_id)


@router.api_route(_STORAGE + "/download/{oid:sha}", methods=["GET", "HEAD"])
async def download(request: Request, hub: TheHub, oid: str) -> FileResponse:
    """Returns a large file, or a range of it."""
    file = _signed(request, hub, "download").object(oid)
    return FileResponse(file, headers={"ETag": f'"{oid}"'}, media_type="application/octet-stream")


@router.put(_STORAGE + "/upload/{oid:sha}")
async def upload(request: Request, hub: TheHub, oid: str) -> None:
    """Stores a large file; interrupted uploads and wrong contents leave nothing behind."""
    file, digest = _signed(request, hub, "upload").object(oid), hashlib.sha256()
    partial = file.with_name(f".{secrets.token_hex(6)}")
    try:
        with partial.open("wb") as opened:
            async for chunk in request.stream():
                digest.update(chunk)
                opened.write(chunk)
        if digest.hexdigest() != oid:
            raise HubError(400, "The content does not match the announced sha256")
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


@router.post(_STORAGE + "/verify/{oid:sha}")
async def verify(request: Request, hub: TheHub, oid: str) -> dict[str, Any]:
    """Confirms that a large file was uploaded."""
    if not _is_stored(_signed(request, hub, "verify"), oid, (await request.json())["size"]):
        raise HubError(404, "The object was not uploaded")
    return {}
