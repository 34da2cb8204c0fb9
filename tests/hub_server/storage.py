"""Repositories on disk: repos/<kind>/<owner>/<name>/{meta.json, refs.json, commits/<sha>.json, objects/<sha256>}.

A commit stores its full tree. Objects are written first, then the commit, then the ref, each by an atomic rename, so
readers and crashes see either state in full. No locks: the server's single thread changes refs without awaiting.
"""

import hashlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from hub_server.errors import HubError

MAIN = "refs/heads/main"


def git_oid(kind: str, data: bytes) -> str:
    """Returns the git hash of an object."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """Returns the git LFS pointer of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(6)}")
    partial.write_bytes(data)
    os.replace(partial, path)


@dataclass(frozen=True)
class Blob:
    """A file of a tree.

    Attributes:
        oid: Git hash of the content or of its LFS pointer.
        size: Size of the content in bytes.
        sha256: SHA-256 of the content, its name in the store.
        lfs: Whether git stores only a pointer.
        xet: Xet hash of the file, if it was uploaded with Xet.
    """

    oid: str
    size: int
    sha256: str
    lfs: bool = False
    xet: str | None = None

    @property
    def etag(self) -> str:
        """The hash that names the file in client caches."""
        return self.sha256 if self.lfs else self.oid


Tree = dict[str, Blob]


@dataclass(frozen=True)
class Commit:
    """A commit with its full tree."""

    tree: Tree
    parent: str | None
    title: str
    message: str
    author: str
    date: str

    @classmethod
    def new(cls, tree: Tree, parent: str | None, title: str, message: str, author: str) -> Self:
        """Returns a commit with the current time."""
        return cls(tree, parent, title, message, author, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z")


@dataclass(frozen=True)
class Meta:
    """Settings of a repository."""

    created: str
    private: bool = False
    gated: bool | str = False
    sdk: str | None = None


class Repo:
    """A repository, which need not exist.

    Attributes:
        kind: ``models``, ``datasets`` or ``spaces``.
        id: ``owner/name``.
        owner: The namespace.
    """

    def __init__(self, root: Path, kind: str, repo_id: str) -> None:
        if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo_id):
            raise HubError(404, f"Invalid repo name: {repo_id}", "RepoNotFound")
        self.kind, self.id, self.owner = kind, repo_id, repo_id.split("/")[0]
        self.folder = Path(root, "repos", kind, repo_id)

    @property
    def path(self) -> str:
        """Its path below the endpoint."""
        return self.id if self.kind == "models" else f"{self.kind}/{self.id}"

    @property
    def exists(self) -> bool:
        """Whether it exists."""
        return (self.folder / "meta.json").exists()

    @property
    def meta(self) -> Meta:
        """Its settings."""
        return Meta(**self._load("meta"))

    @meta.setter
    def meta(self, meta: Meta) -> None:
        self._save("meta", asdict(meta))

    @property
    def refs(self) -> dict[str, str]:
        """The commit of each ref, such as ``refs/heads/main``."""
        return self._load("refs") if (self.folder / "refs.json").exists() else {}

    @refs.setter
    def refs(self, refs: dict[str, str]) -> None:
        self._save("refs", refs)

    def sha_of(self, revision: str) -> str:
        """Resolves a branch, tag, ref or abbreviated hash to a commit hash.

        Raises:
            HubError: If there is none.
        """
        refs = self.refs
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in refs:
                return refs[ref]
        if re.fullmatch("[0-9a-f]{7,40}", revision):
            for file in (self.folder / "commits").glob(f"{revision}*.json"):
                return file.stem
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def commit(self, sha: str) -> Commit:
        """Returns a commit."""
        content = self._load(f"commits/{sha}")
        return Commit(**content | {"tree": {path: Blob(**blob) for path, blob in content["tree"].items()}})

    def tree(self, revision: str) -> Tree:
        """Returns the files of a revision by path."""
        return self.commit(self.sha_of(revision)).tree

    def add_commit(self, ref: str, commit: Commit) -> str:
        """Stores a commit, points a ref to it and returns its hash."""
        content = asdict(commit)
        sha = git_oid("commit", json.dumps([content, secrets.token_hex(8)]).encode())
        self._save(f"commits/{sha}", content)
        self.refs = self.refs | {ref: sha}
        return sha

    def object(self, sha256: str) -> Path:
        """Returns the path of the content with this hash, which need not exist."""
        return self.folder / "objects" / (sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else "no-such-object")

    def store(self, data: bytes) -> Blob:
        """Stores the content of a small file."""
        sha256 = hashlib.sha256(data).hexdigest()
        write_atomic(self.object(sha256), data)
        return Blob(git_oid("blob", data), len(data), sha256)

    def read_text(self, tree: Tree, path: str) -> str:
        """Returns the text of a file, empty if it does not exist."""
        return self.object(tree[path].sha256).read_text("utf-8") if path in tree else ""

    def _load(self, name: str) -> Any:
        return json.loads((self.folder / f"{name}.json").read_text())

    def _save(self, name: str, content: Any) -> None:
        write_atomic(self.folder / f"{name}.json", json.dumps(content).encode())
