"""Downloads from the Hub: snapshots, retries and error messages."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, Unpack

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bc_sam.errors import HubError
from bc_sam.utils.hub_client import HubWaitError, bound_waiting, is_timeout
from bc_sam.utils.model_source import SnapshotOptions

#: Patterns of the files of a SAM on the Hub.
SAM_FILES = ("config.json", "model*.safetensors", "model.safetensors.index.json")

# What the client raises on an answer without the fields it expects, such as a login page of a proxy.
_GARBLED_ANSWER = (LookupError, TypeError, AttributeError, AssertionError)

#: Exceptions of the network, the Hub client and its transfer library.
HUB_ERRORS = (HTTPError, OSError, ValueError, RuntimeError, *_GARBLED_ANSWER)

# Seconds between attempts. The client itself retries content uploads for 23 seconds, but not commits or look-ups.
_WAITS = (1, 2, 4)
_MAX_SECONDS = 10
_TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)

# Errors of a server that closes an idle connection on reuse. By name, since the client's HTTP library may change.
_DROPPED_CONNECTION = ("RemoteProtocolError", "ReadError")

T = TypeVar("T")


def download_snapshot(repo_id: str, files: Sequence[str], **options: Unpack[SnapshotOptions]) -> Path:
    """Downloads selected files of one commit of a repository into the Hub's cache.

    Args:
        repo_id: Hub id.
        files: Patterns of the files to download.
        **options: Download options; see `SnapshotOptions`.

    Returns:
        The snapshot folder, which is named after the commit hash.

    Raises:
        HubError: If the repository or revision does not exist, or the Hub is unreachable.
    """
    try:
        folder = with_retries(lambda: snapshot_download(repo_id, allow_patterns=list(files), **options))
    except HUB_ERRORS as error:
        raise HubError(explain(error, repo_id, options.get("revision"))) from error
    return Path(folder)


def with_retries(call: Callable[[], T]) -> T:
    """Retries a call on transient Hub errors, up to three times within ten seconds."""
    start = time.monotonic()
    for wait in _WAITS:
        bound_waiting()
        try:
            return call()
        except HUB_ERRORS as error:
            if not is_transient(error) or time.monotonic() - start > _MAX_SECONDS:
                raise
        time.sleep(wait)
    return call()


def is_transient(error: BaseException | None) -> bool:
    """Whether an error, or any of its causes, is transient; the client wraps some Hub responses in other errors."""
    while error is not None:
        if isinstance(error, HubWaitError):
            return False
        if isinstance(error, HfHubHTTPError) and error.response.status_code in _TRANSIENT_STATUS:
            return True
        if isinstance(error, HTTPError) and type(error).__name__ in _DROPPED_CONNECTION:
            return True
        error = error.__cause__
    return False


def is_unreachable(error: BaseException) -> bool:
    """Whether the Hub did not answer, or not in a way that says anything about what was asked."""
    if isinstance(error, HfHubHTTPError):
        return is_transient(error)
    return isinstance(error, ConnectionError | HTTPError)


def explain(error: BaseException, repo_id: str, revision: str | None = None) -> str:
    """Returns a message that explains why a Hub call failed and what to do."""
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated. Request access on its Hub page, then run 'hf auth login'."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no folder {repo_id} and no repository of that name on the Hub that you can access. "
            "Check the spelling; for a private repository, run 'hf auth login' or pass token=."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no revision {revision!r}. Check its branches and tags on the Hub."
    if waited := _why_waiting_ended(error):
        return f"{waited} {repo_id} is not cached in full; a local copy can be given by its path."
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"There is no folder {repo_id}, and the repository is not cached in full "
            f"({error.__cause__ or 'local files only'}). Check the connection, or give the path of a local copy."
        )
    if isinstance(error, _GARBLED_ANSWER):
        return (
            f"The Hub's answer about {repo_id} is not one of the Hub ({type(error).__name__}: {error}). Check that no "
            "proxy or login page answers in its place, then try again."
        )
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return f"The Hub rejected your token for {repo_id}. Run 'hf auth login' or pass a valid token=."
    if status == 403:
        return f"Your token has no write access to {repo_id}. Use another token, or ask the owner for access."
    return f"The Hub request for {repo_id} failed: {error} Check the id and the connection, then try again."


def _why_waiting_ended(error: BaseException | None) -> str:
    """Returns why a call was given up, if an error or one of its causes is that the Hub let it wait; else nothing."""
    while error is not None:
        if isinstance(error, HubWaitError):
            return f"{error} Try again then, or log in with 'hf auth login', which raises the limit."
        if is_timeout(error):
            seconds = constants.HF_HUB_DOWNLOAD_TIMEOUT
            return (
                f"The Hub did not answer within {seconds} seconds. Check the connection and any proxy; "
                "HF_HUB_DOWNLOAD_TIMEOUT sets another limit in seconds."
            )
        error = error.__cause__
    return ""
