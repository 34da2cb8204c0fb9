"""Descriptions of files and folders for clients."""

import json
from typing import Any

from hub_server.storage import Tree, git_oid, lfs_pointer


def folders_of(tree: Tree) -> set[str]:
    """Returns the folders of a tree, which lists only files."""
    return {path[:at] for path in tree for at, letter in enumerate(path) if letter == "/"}


def describe(path: str, tree: Tree) -> dict[str, Any]:
    """Returns the description of a file or folder."""
    blob = tree.get(path)
    if blob is None:
        inside = json.dumps(sorted((name, blob.oid) for name, blob in tree.items() if name.startswith(f"{path}/")))
        return {"type": "directory", "path": path, "oid": git_oid("tree", inside.encode()), "size": 0}
    node = {"type": "file", "path": path, "oid": blob.oid, "size": blob.size, "xetHash": blob.xet}
    if blob.lfs:
        pointer = len(lfs_pointer(blob.sha256, blob.size))
        node["lfs"] = {"oid": blob.sha256, "sha256": blob.sha256, "size": blob.size, "pointerSize": pointer}
    return node
