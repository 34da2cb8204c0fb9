"""Routes of revisions: trees, history, branches and tags."""

import json
from typing import Any
from urllib.parse import parse_qs

from fastapi import Request
from fastapi.responses import JSONResponse

from hub_server.errors import HubError
from hub_server.nodes import describe, folders_of
from hub_server.rights import Readable, Writable
from hub_server.routing import hub_router
from hub_server.storage import MAIN, Repo

router = hub_router()
PAGE = 1000


@router.get("/api/{kind:kind}/{repo_id:repo}/tree/{revision:part}")
@router.get("/api/{kind:kind}/{repo_id:repo}/tree/{revision:part}/{path:file}")
async def tree(
    request: Request,
    repo: Readable,
    revision: str,
    path: str = "",
    recursive: bool = False,
    expand: bool = False,
    cursor: int = 0,
    limit: int = PAGE,
) -> JSONResponse:
    """Lists a folder, page by page."""
    sha = repo.sha_of(revision)
    commit = repo.commit(sha)
    top = f"{path}/" if path else ""
    names = sorted(
        name
        for name in commit.tree.keys() | folders_of(commit.tree)
        if name.startswith(top) and (recursive or "/" not in name.removeprefix(top))
    )
    if top and not names:
        raise HubError(404, f'{path} does not exist on "{revision}"', "EntryNotFound")
    last = {"lastCommit": {"id": sha, "title": commit.title, "date": commit.date}} if expand else {}
    page = [describe(name, commit.tree) | last for name in names[cursor : cursor + limit]]
    following = request.url.include_query_params(cursor=cursor + limit)
    more = {"Link": f'<{following}>; rel="next"'} if cursor + limit < len(names) else {}
    return JSONResponse(page, headers=more)


@router.post("/api/{kind:kind}/{repo_id:repo}/paths-info/{revision:part}")
async def paths_info(request: Request, repo: Readable, revision: str) -> list[dict[str, Any]]:
    """Returns the descriptions of the requested files and folders that exist."""
    form = parse_qs((await request.body()).decode())
    files = repo.tree(revision)
    there = files.keys() | folders_of(files)
    return [describe(path, files) for path in form.get("paths", []) if path in there]


@router.get("/api/{kind:kind}/{repo_id:repo}/commits/{revision:part}")
async def commits(repo: Readable, revision: str) -> list[dict[str, Any]]:
    """Lists the history, newest first."""
    history: list[dict[str, Any]] = []
    sha: str | None = repo.sha_of(revision)
    while sha is not None:
        commit = repo.commit(sha)
        entry = {"id": sha, "title": commit.title, "message": commit.message, "date": commit.date}
        history.append(entry | {"authors": [{"user": commit.author}]})
        sha = commit.parent
    return history


@router.get("/api/{kind:kind}/{repo_id:repo}/refs")
async def refs(repo: Readable) -> dict[str, list[dict[str, str]]]:
    """Lists branches, tags and pull requests."""

    def those_in(folder: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix("refs/").partition("/")[2], "ref": ref, "targetCommit": sha}
            for ref, sha in repo.refs.items()
            if ref.startswith(folder)
        ]

    pulls = those_in("refs/pr/")
    return {"branches": those_in("refs/heads/"), "tags": those_in("refs/tags/"), "converts": [], "pullRequests": pulls}


@router.post("/api/{kind:kind}/{repo_id:repo}/branch/{name:part}")
async def create_branch(request: Request, repo: Writable, name: str) -> None:
    """Creates a branch."""
    body = json.loads(await request.body() or b"{}")
    _add_ref(repo, f"refs/heads/{name}", body.get("startingPoint") or "main")


@router.post("/api/{kind:kind}/{repo_id:repo}/tag/{revision:part}")
async def create_tag(request: Request, repo: Writable, revision: str) -> None:
    """Creates a tag."""
    _add_ref(repo, f"refs/tags/{(await request.json())['tag']}", revision)


@router.delete("/api/{kind:kind}/{repo_id:repo}/branch/{name:part}")
async def delete_branch(repo: Writable, name: str) -> None:
    """Deletes a branch other than main."""
    if f"refs/heads/{name}" == MAIN:
        raise HubError(403, "Cannot delete the default branch")
    _remove_ref(repo, f"refs/heads/{name}")


@router.delete("/api/{kind:kind}/{repo_id:repo}/tag/{name:part}")
async def delete_tag(repo: Writable, name: str) -> None:
    """Deletes a tag."""
    _remove_ref(repo, f"refs/tags/{name}")


def _add_ref(repo: Repo, ref: str, revision: str) -> None:
    if ref in repo.refs:
        raise HubError(409, f"Reference {ref} already exists")
    repo.refs = repo.refs | {ref: repo.sha_of(revision)}


def _remove_ref(repo: Repo, ref: str) -> None:
    if ref not in repo.refs:
        raise HubError(404, f"Reference {ref} doesn't exist", "RevisionNotFound")
    repo.refs = {name: sha for name, sha in repo.refs.items() if name != ref}
