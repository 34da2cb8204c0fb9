"""Repositories on disk: repos/<kind>/<owner>/<name>/{meta.json, refs.json, commits/<sha>.json, objects/<sha256>}.

A commit holds its whole tree. Objects are written first, then the commit, then the ref, each by an atomic rename: a
reader, or a crash, sees the old state or the new one. No locks: the server's one thread changes refs without awaiting.
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
    """The hash by which git knows an object."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The small text that stands in git for a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces a file so that nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(6)}")
    partial.write_bytes(data)
    os.replace(partial, path)


@dataclass(frozen=True)
class Blob:
    """A file of a tree.

    Attributes:
        oid: Hash of git: of the content, or of the pointer to it.
        size: Bytes of the content.
        sha256: Of the content; its name in the store.
        lfs: Whether git holds only a pointer.
        xet: Hash of the file in Xet, if it came that way.
    """

    oid: str
    size: int
    sha256: str
    lfs: bool = False
    xet: str | None = None

    @property
    def etag(self) -> str:
        """The hash that clients name their cached copy by."""
        return self.sha256 if self.lfs else self.oid


Tree = dict[str, Blob]


@dataclass(frozen=True)
class Commit:
    """One state of a repository, and how it came about."""

    tree: Tree
    parent: str | None
    title: str
    message: str
    author: str
    date: str

    @classmethod
    def new(cls, tree: Tree, parent: str | None, title: str, message: str, author: str) -> Self:
        """A commit made now."""
        return cls(tree, parent, title, message, author, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z")


@dataclass(frozen=True)
class Meta:
    """What the owner has set."""

    created: str
    private: bool = False
    gated: bool | str = False
    sdk: str | None = None


class Repo:
    """A repository; whether it exists is another question.

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
        """Where it is on the web, below the endpoint."""
        return self.id if self.kind == "models" else f"{self.kind}/{self.id}"

    @property
    def exists(self) -> bool:
        """Whether it was made and not deleted since."""
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
        """Returns the commit that a branch, a tag, a ref or the beginning of a hash stands for.

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
        """Reads a commit."""
        content = self._load(f"commits/{sha}")
        return Commit(**content | {"tree": {path: Blob(**blob) for path, blob in content["tree"].items()}})

    def tree(self, revision: str) -> Tree:
        """The files of a revision, by path."""
        return self.commit(self.sha_of(revision)).tree

    def add_commit(self, ref: str, commit: Commit) -> str:
        """Stores a commit, lets a ref stand for it and returns its hash."""
        content = asdict(commit)
        sha = git_oid("commit", json.dumps([content, secrets.token_hex(8)]).encode())
        self._save(f"commits/{sha}", content)
        self.refs = self.refs | {ref: sha}
        return sha

    def object(self, sha256: str) -> Path:
        """Where the content of that hash is, or would be."""
        return self.folder / "objects" / (sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else "no-such-object")

    def store(self, data: bytes) -> Blob:
        """Stores the content of a small file."""
        sha256 = hashlib.sha256(data).hexdigest()
        write_atomic(self.object(sha256), data)
        return Blob(git_oid("blob", data), len(data), sha256)

    def read_text(self, tree: Tree, path: str) -> str:
        """The text of a file, empty if there is no such file."""
        return self.object(tree[path].sha256).read_text("utf-8") if path in tree else ""

    def _load(self, name: str) -> Any:
        return json.loads((self.folder / f"{name}.json").read_text())

    def _save(self, name: str, content: Any) -> None:
        write_atomic(self.folder / f"{name}.json", json.dumps(content).encode())
