"""Pushes a local folder to a repository on the Hub in one commit."""

import fnmatch
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    DatasetInfo,
    HfApi,
    KernelInfo,
    ModelInfo,
    SpaceInfo,
)
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError

from bc_sam.errors import HubError
from bc_sam.utils.hub import HUB_ERRORS, explain, is_transient, with_retries

RepoType = Literal["model", "dataset", "space"]

_TRIES = 4


@dataclass(frozen=True)
class Repository:
    """A repository on the Hub, at the parent commit of the next push.

    Attributes:
        repo_id: ``owner/name``.
        repo_type: Model, data set or Space.
        revision: Branch of the next commit.
        head: Its latest commit; a push fails if someone else has pushed since.
        create_pr: Open a pull request instead.
        token: Token; ``None`` uses the one stored by ``hf auth login``.
    """

    repo_id: str
    repo_type: RepoType
    revision: str
    head: str
    create_pr: bool
    token: str | bool | None

    @classmethod
    def open(
        cls,
        repo_id: str,
        *,
        repo_type: RepoType = "model",
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        token: str | bool | None = None,
    ) -> Self:
        """Opens a repository; it and its branch are created if they do not exist.

        Args:
            repo_id: ``owner/name``, or a name of the token's own user.
            repo_type: Model, data set or Space.
            private: Whether a new repository is private; ``None`` is the owner's default.
            revision: Branch; ``main`` by default.
            create_pr: Open a pull request with the next commit.
            token: Token with the right to write.

        Raises:
            HubError: If the Hub denies access, or the repository is public although `private` was requested.
        """
        api, branch = HfApi(token=token), revision or "main"

        def look_up(revision: str | None = None) -> ModelInfo | DatasetInfo | SpaceInfo | KernelInfo:
            return with_retries(lambda: api.repo_info(repo_id, repo_type=repo_type, revision=revision))

        try:
            if "/" not in repo_id:
                repo_id = f"{with_retries(api.whoami)['name']}/{repo_id}"
            try:
                info = look_up()
            except RepositoryNotFoundError:
                _create(api, repo_id, repo_type, private)
                info = look_up()
            if private and not info.private:
                raise HubError(f"{repo_id} exists and is public. Make it private in its settings, then push again.")
            if revision is not None and not create_pr and not revision.startswith("refs/"):
                with_retries(lambda: api.create_branch(repo_id, branch=branch, repo_type=repo_type, exist_ok=True))
            head = look_up(branch).sha
        except HUB_ERRORS as error:
            raise HubError(f"Nothing was pushed. {explain(error, repo_id, revision)}") from error
        return cls(repo_id, repo_type, branch, str(head), create_pr, token)

    def read_text(self, path: str) -> str | None:
        """Returns a text file of the latest commit, or ``None`` if it does not exist.

        Raises:
            HubError: If the Hub cannot be reached.
        """
        api = HfApi(token=self.token)
        try:
            file = with_retries(
                lambda: api.hf_hub_download(self.repo_id, path, repo_type=self.repo_type, revision=self.head)
            )
            return Path(file).read_text("utf-8")
        except RemoteEntryNotFoundError:
            return None
        except HUB_ERRORS as error:
            raise HubError(f"Nothing was pushed. {explain(error, self.repo_id)}") from error

    def commit(self, folder: Path, owned: Sequence[str], message: str) -> CommitInfo:
        """Pushes all files of a folder in one commit.

        Args:
            folder: The folder to push.
            owned: Patterns of files that are removed from the repository if they are not in the folder.
            message: Title of the commit.

        Returns:
            The commit, with its URL and that of the pull request, if any.

        Raises:
            HubError: If the push fails. No commit is made then; a retry only uploads the missing files.
        """
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        api = HfApi(token=self.token)
        try:
            existing = with_retries(
                lambda: api.list_repo_files(self.repo_id, revision=self.head, repo_type=self.repo_type)
            )
            stale = [
                name
                for name in existing
                if name not in files and any(fnmatch.fnmatchcase(name, pattern) for pattern in owned)
            ]
            operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
            return self._send(api, [*operations, *map(CommitOperationDelete, stale)], message)
        except HUB_ERRORS as error:
            raise HubError(f"No commit was made. {self._explain(error)}") from error

    def _send(
        self, api: HfApi, operations: list[CommitOperationAdd | CommitOperationDelete], message: str
    ) -> CommitInfo:
        """Creates the commit with retries; the pinned parent prevents duplicates."""
        for attempt in range(_TRIES):
            try:
                return api.create_commit(
                    self.repo_id,
                    operations,
                    commit_message=message,
                    repo_type=self.repo_type,
                    revision=None if self.create_pr and self.revision == "main" else self.revision,
                    create_pr=self.create_pr,
                    parent_commit=self.head,
                )
            except HUB_ERRORS as error:
                commit = None if self.create_pr else self._find_commit(api, message)
                if commit is not None:
                    return commit
                if attempt == _TRIES - 1 or not is_transient(error):
                    raise
                time.sleep(2**attempt)
        raise AssertionError("unreachable")

    def _find_commit(self, api: HfApi, message: str) -> CommitInfo | None:
        """Returns the commit if it was created and only the response was lost."""
        try:
            newest = api.list_repo_commits(self.repo_id, repo_type=self.repo_type, revision=self.revision)
        except HUB_ERRORS:
            return None
        if len(newest) < 2 or newest[1].commit_id != self.head or newest[0].title != message:
            return None
        url = f"{api.endpoint}/{self.repo_id}/commit/{newest[0].commit_id}"
        return CommitInfo(commit_url=url, commit_message=message, commit_description="", oid=newest[0].commit_id)

    def _explain(self, error: BaseException) -> str:
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 412:
            return f"Someone else has pushed to {self.repo_id} in the meantime. Review their commit, then push again."
        return explain(error, self.repo_id, self.revision)


def _create(api: HfApi, repo_id: str, repo_type: RepoType, private: bool | None) -> None:
    sdk = "gradio" if repo_type == "space" else None
    with_retries(lambda: api.create_repo(repo_id, repo_type=repo_type, private=private, space_sdk=sdk, exist_ok=True))
