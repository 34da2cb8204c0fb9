"""Routes of a commit: preupload and the commit itself."""

import base64
import fnmatch
import json
import re
from typing import Any

from fastapi import Request

from hub_server import xet
from hub_server.errors import HubError
from hub_server.hub import Hub
from hub_server.nodes import folders_of
from hub_server.rights import Member, TheHub, Writable
from hub_server.routing import hub_router
from hub_server.storage import Blob, Commit, Repo, Tree, git_oid, lfs_pointer

router = hub_router()
LFS_EXTENSIONS = re.findall(
    r"\w+",
    "7z arrow bin bz2 ckpt ftz gz h5 joblib mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl pt pth "
    "rar safetensors skops tar tflite tgz wasm xz zip zst",
)
LFS_BYTES = 10 * 2**20


@router.post("/api/{kind:kind}/{repo_id:repo}/preupload/{revision:part}")
async def preupload(request: Request, repo: Writable, revision: str) -> dict[str, Any]:
    """Returns which files are large, which are ignored, and which exist already."""
    body, tree = await request.json(), repo.tree(revision)
    lines = body.get("gitIgnore", repo.read_text(tree, ".gitignore")).splitlines()
    ignored = [line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#")]
    return {"files": [_advise(file, tree, ignored) for file in body["files"]]}


def _advise(file: dict[str, Any], tree: Tree, ignored: list[str]) -> dict[str, Any]:
    path, old = file["path"], tree.get(file["path"])
    large = path.rpartition(".")[2].lower() in LFS_EXTENSIONS or file["size"] >= LFS_BYTES
    binary = b"\0" in base64.b64decode(file.get("sample", ""))
    names = (path, *path.split("/"))
    return {
        "path": path,
        "uploadMode": "lfs" if large or binary else "regular",
        "shouldIgnore": any(fnmatch.fnmatch(name, pattern) for name in names for pattern in ignored),
    } | ({"oid": old.etag} if old else {})


@router.post("/api/{kind:kind}/{repo_id:repo}/commit/{revision:part}")
async def commit(
    request: Request, hub: TheHub, user: Member, repo: Writable, revision: str, create_pr: bool = False
) -> dict[str, Any]:
    """Creates a commit atomically, on a branch or as a pull request."""
    lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
    if not lines or lines[0].get("key") != "header" or not lines[0]["value"].get("summary"):
        raise HubError(400, "The first line must be a header with a summary")
    header, operations = lines[0]["value"], lines[1:]
    for operation in operations:
        if operation["key"] == "lfsFile":
            await xet.materialise(hub, repo, operation["value"]["oid"])
    ref, parent = _branch(repo, revision, header.get("parentCommit") or "")
    tree = _changed(hub, repo, repo.commit(parent).tree, operations)
    if create_pr:
        ref = f"refs/pr/{1 + sum(name.startswith('refs/pr/') for name in repo.refs)}"
    sha = repo.add_commit(ref, Commit.new(tree, parent, header["summary"], header.get("description", ""), user.name))
    web, pull_request = f"{hub.endpoint}/{repo.path}", ref.removeprefix("refs/pr/")
    return {
        "success": True,
        "commitOid": sha,
        "commitUrl": f"{web}/commit/{sha}",
        "pullRequestUrl": f"{web}/discussions/{pull_request}" if pull_request != ref else None,
        "hookOutput": "",
    }


def _branch(repo: Repo, revision: str, expected_parent: str) -> tuple[str, str]:
    """Returns the ref to commit to, and its latest commit."""
    for ref in (f"refs/heads/{revision}", revision):
        if ref in repo.refs:
            break
    else:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    if not repo.refs[ref].startswith(expected_parent):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    return ref, repo.refs[ref]


def _changed(hub: Hub, repo: Repo, tree: Tree, operations: list[dict[str, Any]]) -> Tree:
    """Returns the tree after the operations."""
    tree = dict(tree)
    for operation in operations:
        kind, value = operation["key"], operation["value"]
        path = value["path"].rstrip("/")
        if {"..", ".", ".git", ""} & set(path.split("/")):
            raise HubError(400, f"Invalid path: {value['path']}")
        if kind == "file":
            tree[path] = repo.store(base64.b64decode(value["content"]))
        elif kind == "lfsFile":
            tree[path] = _large_file(hub, repo, path, value["oid"], value.get("size"))
        elif kind in ("deletedFile", "deletedFolder"):
            _remove(tree, kind, path)
        else:
            raise HubError(400, f"Unknown operation: {kind}")
    if folders_of(tree) & tree.keys():
        raise HubError(400, "A path cannot be both a file and a folder")
    return tree


def _large_file(hub: Hub, repo: Repo, path: str, oid: str, announced: int | None) -> Blob:
    """Returns the entry of a file whose content was uploaded before the commit."""
    content = repo.object(oid)
    size = content.stat().st_size if content.is_file() else None
    if size is None or announced not in (None, size):
        raise HubError(400, f"The LFS object of {path} was not uploaded: {oid}")
    return Blob(git_oid("blob", lfs_pointer(oid, size)), size, oid, lfs=True, xet=xet.hash_of(hub, oid))


def _remove(tree: Tree, kind: str, path: str) -> None:
    """Removes a file, or all files of a folder, from a tree."""
    found = [name for name in tree if (name == path if kind == "deletedFile" else name.startswith(f"{path}/"))]
    if not found:
        raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    for name in found:
        del tree[name]
