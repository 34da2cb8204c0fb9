"""Routes of Xet, the client's default storage: tokens and a store of chunks.

Uploads are also reassembled into plain objects of the repository for clients without Xet.
"""

import asyncio
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import FileResponse, JSONResponse

from hub_server.errors import HubError
from hub_server.hub import Hub
from hub_server.rights import TheHub, Visitor, check_open, check_writable, visible
from hub_server.routing import hub_router
from hub_server.storage import Repo, write_atomic
from hub_server.xet_format import Term, read_shard, read_xorb

router = hub_router()
_GOOD_FOR = 900


def grant(hub: Hub, scope: str) -> tuple[str, int]:
    """Returns a token for the store and its expiry time."""
    expires = int(time.time()) + _GOOD_FOR
    return f"{scope}.{expires}.{hub.sign('xet', scope, expires)}", expires


def _check(request: Request, hub: Hub, scope: str) -> None:
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    found = re.fullmatch(r"(read|write)\.(\d+)\.(\w+)", token)
    if not found or hub.sign("xet", found[1], int(found[2])) != found[3]:
        raise HubError(401, "Invalid token of the store")
    if int(found[2]) < time.time() or (scope == "write" and found[1] != "write"):
        raise HubError(403, "The token of the store has expired or does not allow this")


def _load(hub: Hub, folder: str, name: str) -> Any:
    file = hub.root / "xet" / folder / name
    return json.loads(file.read_text()) if file.exists() else None


def _save(hub: Hub, folder: str, name: str, content: Any) -> None:
    write_atomic(hub.root / "xet" / folder / name, json.dumps(content).encode())


def hash_of(hub: Hub, sha256: str) -> str | None:
    """Returns the Xet hash of a content, if it was uploaded with Xet."""
    known = _load(hub, "sha256", sha256)
    return str(known["hash"]) if known else None


def download_headers(hub: Hub, repo: Repo, sha: str, xet_hash: str) -> dict[str, str]:
    """Returns the headers of `resolve` that offer the file in the store."""
    url = f"{hub.endpoint}/api/{repo.kind}/{repo.id}/xet-read-token/{sha}"
    return {"X-Xet-Hash": xet_hash, "X-Xet-Refresh-Route": url, "Link": f'<{url}>; rel="xet-auth"'}


async def materialise(hub: Hub, repo: Repo, sha256: str) -> None:
    """Reassembles a content of the store into a plain object of a repository, unless it exists."""
    known = _load(hub, "sha256", sha256) if re.fullmatch("[0-9a-f]{64}", sha256) else None
    if known and not repo.object(sha256).exists():
        await asyncio.to_thread(_rebuild, hub, known["hash"], known["size"], sha256, repo.object(sha256))


def _rebuild(hub: Hub, xet_hash: str, size: int, sha256: str, target: Path) -> None:
    """Downloads from this server with the client library, which can unpack chunks."""
    from hf_xet import XetFileInfo, XetSession

    token, expires = grant(hub, "read")
    partial = target.with_name(f".xet-{sha256}")
    download = {"endpoint": f"{hub.endpoint}/_cas", "token": token, "token_expiry_unix_secs": expires}
    with XetSession().new_file_download_group(**download) as group:
        group.start_download_file(XetFileInfo(xet_hash, size), str(partial))
    with partial.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise HubError(400, f"The content of {sha256} does not match its sha256")
    os.replace(partial, target)


@router.get("/api/{kind:kind}/{repo_id:repo}/xet-read-token/{revision:part}")
async def read_token(hub: TheHub, user: Visitor, kind: str, repo_id: str, revision: str) -> JSONResponse:
    """Returns a token to read from the store."""
    check_open(visible(hub, user, kind, repo_id), user)
    return _token(hub, "read")


@router.get("/api/{kind:kind}/{repo_id:repo}/xet-write-token/{revision:part}")
async def write_token(hub: TheHub, user: Visitor, kind: str, repo_id: str, revision: str) -> JSONResponse:
    """Returns a token to write to the store."""
    check_writable(visible(hub, user, kind, repo_id), user)
    return _token(hub, "write")


def _token(hub: Hub, scope: str) -> JSONResponse:
    token, expires = grant(hub, scope)
    url = f"{hub.endpoint}/_cas"
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires)}
    return JSONResponse({"casUrl": url, "accessToken": token, "exp": expires}, headers=headers)


@router.post("/_cas/v1/xorbs/default/{oid:sha}")
async def put_xorb(request: Request, hub: TheHub, oid: str) -> dict[str, bool]:
    """Stores a xorb of chunks."""
    _check(request, hub, "write")
    data, file = await request.body(), hub.root / "xet" / "xorbs" / oid
    inserted = not file.exists()
    chunks, end = read_xorb(data)
    write_atomic(file, data[:end])
    _save(hub, "chunks", oid, [*chunks, (end, 0)])
    return {"was_inserted": inserted}


@router.post("/_cas/v1/shards")
async def put_shard(request: Request, hub: TheHub) -> dict[str, int]:
    """Stores a shard of file descriptions."""
    _check(request, hub, "write")
    for file in read_shard(await request.body()):
        if any(_load(hub, "chunks", term.xorb) is None for term in file.terms):
            raise HubError(400, "The shard refers to a xorb that was not uploaded")
        _save(hub, "files", file.hash, file.terms)
        if file.sha256:
            known = {"hash": file.hash, "size": sum(term.size for term in file.terms)}
            _save(hub, "sha256", file.sha256, known)
    return {"result": 1}


@router.get("/_cas/v1/reconstructions/{oid:sha}")
async def reconstruction(request: Request, hub: TheHub, oid: str) -> dict[str, Any]:
    """Returns the xorb ranges that make up a file, or a range of it."""
    _check(request, hub, "read")
    content = _load(hub, "files", oid)
    if content is None:
        raise HubError(404, "File not found")
    terms = [Term(*term) for term in content]
    offset, pieces = _pieces(hub, terms, *_range(request, sum(term.size for term in terms)))
    parts = [{"hash": piece.xorb, "range": _span(piece.chunks), "unpacked_length": piece.size} for piece in pieces]
    sources: dict[str, list[dict[str, Any]]] = {}
    for piece in pieces:
        source = {"range": _span(piece.chunks), "url_range": _span(piece.place)}
        sources.setdefault(piece.xorb, []).append(source | {"url": f"{hub.endpoint}/_cas/xorb/{piece.xorb}"})
    return {"offset_into_first_range": offset, "terms": parts, "fetch_info": sources}


def _span(limits: tuple[int, int]) -> dict[str, int]:
    return {"start": limits[0], "end": limits[1]}


class _Piece(NamedTuple):
    """The part of a xorb that a client must fetch: chunks [start, stop) in bytes [first, last]."""

    xorb: str
    chunks: tuple[int, int]
    place: tuple[int, int]
    size: int


def _pieces(hub: Hub, terms: list[Term], first: int, last: int) -> tuple[int, list[_Piece]]:
    """Returns the chunks that overlap bytes `first` to `last`, and the offset into the first chunk."""
    offset, pieces, at = 0, [], 0
    for term in terms:
        chunks = _load(hub, "chunks", term.xorb)
        used = []
        for index in range(term.start, term.stop):
            begin, at = at, at + chunks[index][1]
            if at > first and begin <= last:
                used.append(index)
                offset = first - begin if begin <= first else offset
        if used:
            start, stop = used[0], used[-1] + 1
            place = chunks[start][0], chunks[stop][0] - 1
            pieces.append(_Piece(term.xorb, (start, stop), place, sum(chunks[index][1] for index in used)))
    return offset, pieces


def _range(request: Request, size: int) -> tuple[int, int]:
    """Returns the first and last requested byte."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    first, last = (int(found[1]), min(int(found[2] or size), size - 1)) if found else (0, size - 1)
    if first > last and size:
        raise HubError(416, "Range not satisfiable")
    return first, last


@router.get("/_cas/xorb/{oid:sha}")
async def get_xorb(hub: TheHub, oid: str) -> FileResponse:
    """Returns a range of a xorb."""
    return FileResponse(hub.root / "xet" / "xorbs" / oid, media_type="application/octet-stream")
