"""Routes of whole repositories: create, describe, change, delete; and whoami."""

import hashlib
import shutil
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Body, Request
from fastapi.responses import JSONResponse

from hub_server.cards import SDKS, front_matter, problems
from hub_server.commits import LFS_EXTENSIONS
from hub_server.errors import HubError
from hub_server.nodes import describe
from hub_server.rights import Member, Readable, TheHub, Writable, check_writable, visible
from hub_server.routing import hub_router
from hub_server.storage import MAIN, Commit, Meta, Repo

router = hub_router()
JsonBody = Annotated[dict[str, Any], Body()]
GIT_ATTRIBUTES = "".join(f"*.{end} filter=lfs diff=lfs merge=lfs -text\n" for end in LFS_EXTENSIONS).encode()


@router.get("/api/whoami-v2")
async def whoami(user: Member) -> dict[str, Any]:
    """Returns the user of the token."""
    return {
        "type": "user",
        "name": user.name,
        "orgs": [{"type": "org", "name": name} for name in user.organizations],
        "auth": {"type": "access_token", "accessToken": {"role": "write" if user.may_write else "read"}},
    }


@router.post("/api/validate-yaml")
async def validate_yaml(body: JsonBody) -> JSONResponse:
    """Validates a card, which the client requests before an upload."""
    errors, warnings = problems(body.get("content", ""), body.get("repoType", "model"))
    answer = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return JSONResponse(answer, 400 if errors else 200)


@router.post("/api/repos/create")
async def create(hub: TheHub, user: Member, body: JsonBody) -> dict[str, str]:
    """Creates a repository with an initial commit."""
    kind, owner = body.get("type", "model") + "s", body.get("organization") or user.name
    if not (user.belongs_to(owner) and user.may_write):
        raise HubError(403, f'You don\'t have the rights to create a repository under the namespace "{owner}"')
    if kind == "spaces" and body.get("sdk") not in SDKS:
        raise HubError(400, f"sdk must be one of {list(SDKS)}")
    repo = hub.repo(kind, f"{owner}/{body['name']}")
    url = f"{hub.endpoint}/{repo.path}"
    if repo.exists:
        raise HubError(409, "You already created this repository", url=url)
    commit = Commit.new({".gitattributes": repo.store(GIT_ATTRIBUTES)}, None, "initial commit", "", user.name)
    repo.add_commit(MAIN, commit)
    private = body.get("visibility") == "private" or bool(body.get("private"))
    repo.meta = Meta(commit.date, private, sdk=body.get("sdk"))
    return {"url": url, "name": repo.id}


@router.delete("/api/repos/delete")
async def delete(hub: TheHub, user: Member, body: JsonBody) -> None:
    """Deletes a repository permanently."""
    owner = body.get("organization") or user.name
    repo = visible(hub, user, body.get("type", "model") + "s", f"{owner}/{body['name']}")
    check_writable(repo, user)
    shutil.rmtree(repo.folder)


@router.put("/api/{kind:kind}/{repo_id:repo}/settings")
async def settings(repo: Writable, body: JsonBody) -> None:
    """Makes a repository private, public or gated."""
    if "visibility" in body:
        body["private"] = body["visibility"] == "private"
    repo.meta = replace(repo.meta, **{name: body[name] for name in ("private", "gated") if name in body})


@router.get("/api/{kind:kind}/{repo_id:repo}")
@router.get("/api/{kind:kind}/{repo_id:repo}/revision/{revision:part}")
async def info(request: Request, repo: Readable, revision: str = "main") -> dict[str, Any]:
    """Returns the commit, files and card of a revision."""
    query = request.query_params
    described = _info(repo, repo.sha_of(revision), with_blobs="blobs" in query)
    wanted = query.getlist("expand")
    return {name: described.get(name) for name in ("_id", "id", *wanted)} if wanted else described


def _info(repo: Repo, sha: str, *, with_blobs: bool) -> dict[str, Any]:
    meta, commit = repo.meta, repo.commit(sha)
    card = _card(repo, commit)
    described = {
        "_id": hashlib.sha256(f"{repo.kind}/{repo.id}".encode()).hexdigest()[:24],
        "id": repo.id,
        "author": repo.owner,
        "sha": sha,
        "lastModified": commit.date,
        "createdAt": meta.created,
        "private": meta.private,
        "gated": meta.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "cardData": card,
        "tags": [*(card.get("tags") or []), *([f"license:{card['license']}"] if card.get("license") else [])],
        "siblings": [_sibling(path, commit, with_blobs) for path in sorted(commit.tree)],
    }
    if repo.kind == "models":
        described |= {name: card[name] for name in ("pipeline_tag", "library_name") if name in card}
    if repo.kind == "spaces":
        described["sdk"] = card.get("sdk") or meta.sdk
    return described


def _card(repo: Repo, commit: Commit) -> dict[str, Any]:
    try:
        return front_matter(repo.read_text(commit.tree, "README.md"))
    except HubError:
        return {}


def _sibling(path: str, commit: Commit, with_blobs: bool) -> dict[str, Any]:
    if not with_blobs:
        return {"rfilename": path}
    node = describe(path, commit.tree)
    return {"rfilename": path, "size": node["size"], "blobId": node["oid"]} | (
        {"lfs": node["lfs"]} if "lfs" in node else {}
    )
