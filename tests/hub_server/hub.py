"""What all routes share: where things lie, and a key that signs what is given to clients and comes back."""

import hmac
import secrets
import time
from pathlib import Path

from hub_server.storage import Repo


class Hub:
    """The state of the server.

    Attributes:
        root: Folder of everything that is kept.
        endpoint: The Hub's own address.
        storage: Address of the storage behind it: the same server under another name, hence another origin, to which
            no client may send its token.
    """

    def __init__(self, root: Path, endpoint: str) -> None:
        self.root = root
        self.endpoint = endpoint
        self.storage = endpoint.replace("127.0.0.1", "localhost")
        self._key = secrets.token_bytes(16)

    def repo(self, kind: str, repo_id: str) -> Repo:
        """A repository, which need not exist."""
        return Repo(self.root, kind, repo_id)

    def sign(self, *claims: object) -> str:
        """A signature that only this process can give."""
        return hmac.new(self._key, repr(claims).encode(), "sha256").hexdigest()

    def signed_url(self, repo: Repo, operation: str, sha256: str) -> str:
        """An address of an object in the storage, good for an hour."""
        expires = int(time.time()) + 3600
        signature = self.sign(operation, repo.kind, repo.id, sha256, expires)
        path = f"_lfs/{repo.kind}/{repo.id}/{operation}/{sha256}"
        return f"{self.storage}/{path}?expires={expires}&signature={signature}"
