"""The state shared by all routes, and the key that signs URLs and tokens."""

import hmac
import secrets
import time
from pathlib import Path

from hub_server.storage import Repo


class Hub:
    """The state of the server.

    Attributes:
        root: Folder of all stored data.
        endpoint: URL of the Hub.
        storage: URL of the storage: the same server under another host name, and thus another origin, to which clients
            must not send their token.
    """

    def __init__(self, root: Path, endpoint: str) -> None:
        self.root = root
        self.endpoint = endpoint
        self.storage = endpoint.replace("127.0.0.1", "localhost")
        self._key = secrets.token_bytes(16)

    def repo(self, kind: str, repo_id: str) -> Repo:
        """Returns a repository, which need not exist."""
        return Repo(self.root, kind, repo_id)

    def sign(self, *claims: object) -> str:
        """Returns a signature with this process's key."""
        return hmac.new(self._key, repr(claims).encode(), "sha256").hexdigest()

    def signed_url(self, repo: Repo, operation: str, sha256: str) -> str:
        """Returns a storage URL of an object, valid for an hour."""
        expires = int(time.time()) + 3600
        signature = self.sign(operation, repo.kind, repo.id, sha256, expires)
        path = f"_lfs/{repo.kind}/{repo.id}/{operation}/{sha256}"
        return f"{self.storage}/{path}?expires={expires}&signature={signature}"
