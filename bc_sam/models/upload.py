"""From a local folder to one commit of a repository on the Hub."""

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
    """A repository on the Hub at the commit that the next one shall follow.

    Attributes:
        repo_id: ``owner/name``.
        repo_type: Model, data set or Space.
        revision: Branch that the next commit goes to.
        head: Its newest commit; a push fails where somebody else has pushed since.
        create_pr: Propose the commit as a pull request instead.
        token: Token; ``None`` takes the one that ``hf auth login`` stored.
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
        """Finds a repository, and makes it, or its branch, where it does not exist.

        Args:
            repo_id: ``owner/name``.
            repo_type: Model, data set or Space.
            private: Whether a new repository is private; ``None`` is the owner's default.
            revision: Branch; ``main`` by default.
            create_pr: Propose the next commit as a pull request.
            token: Token with the right to write.

        Raises:
            HubError: If the Hub refuses, or the repository exists and is public where a private one was asked for.
        """
        api, branch = HfApi(token=token), revision or "main"

        def look_up(revision: str | None = None) -> ModelInfo | DatasetInfo | SpaceInfo | KernelInfo:
            return with_retries(lambda: api.repo_info(repo_id, repo_type=repo_type, revision=revision))

        try:
            try:
                info = look_up()
            except RepositoryNotFoundError:
                _create(api, repo_id, repo_type, private)
                info = look_up()
            if private and not info.private:
                raise HubError(f"{repo_id} exists and is public. Make it private in its settings first, then push.")
            if revision is not None and not create_pr and not revision.startswith("refs/"):
                with_retries(lambda: api.create_branch(repo_id, branch=branch, repo_type=repo_type, exist_ok=True))
            head = look_up(branch).sha
        except HUB_ERRORS as error:
            raise HubError(f"Nothing was pushed. {explain(error, repo_id, revision)}") from error
        return cls(repo_id, repo_type, branch, str(head), create_pr, token)

    def read_text(self, path: str) -> str | None:
        """Returns a text file of the newest commit, or ``None`` if there is none.

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
        """Makes the files of a folder those of the repository, in one commit.

        Args:
            folder: What to push, all of it.
            owned: Patterns of the names that are ours: such files are removed where the folder has none of that name.
            message: Title of the commit.

        Returns:
            The commit, or pull request, with its address.

        Raises:
            HubError: If the Hub refuses or fails. Then no commit was made; trying again sends only what has not
                arrived yet.
        """
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        api = HfApi(token=self.token)
        try:
            there = with_retries(
                lambda: api.list_repo_files(self.repo_id, revision=self.head, repo_type=self.repo_type)
            )
            stale = [
                name
                for name in there
                if name not in files and any(fnmatch.fnmatchcase(name, pattern) for pattern in owned)
            ]
            operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
            return self._send(api, [*operations, *map(CommitOperationDelete, stale)], message)
        except HUB_ERRORS as error:
            raise HubError(f"No commit was made. {self._explain(error)}") from error

    def _send(
        self, api: HfApi, operations: list[CommitOperationAdd | CommitOperationDelete], message: str
    ) -> CommitInfo:
        """Sends the commit until it is there. The parent sees to it that it is there once."""
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
                landed = None if self.create_pr else self._landed(api, message)
                if landed is not None:
                    return landed
                if attempt == _TRIES - 1 or not is_transient(error):
                    raise
                time.sleep(2**attempt)
        raise AssertionError("unreachable")

    def _landed(self, api: HfApi, message: str) -> CommitInfo | None:
        """Returns the commit where only the Hub's answer was lost."""
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
            return f"Somebody else has pushed to {self.repo_id} meanwhile. Look at it, then push again."
        return explain(error, self.repo_id, self.revision)


def _create(api: HfApi, repo_id: str, repo_type: RepoType, private: bool | None) -> None:
    sdk = "gradio" if repo_type == "space" else None
    with_retries(lambda: api.create_repo(repo_id, repo_type=repo_type, private=private, space_sdk=sdk, exist_ok=True))
