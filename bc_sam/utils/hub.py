"""Downloads from the Hub: local folders, snapshots, retries and error messages."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypedDict, TypeVar, Unpack

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bc_sam.errors import ConfigError, HubError, WeightsError
from bc_sam.utils.atomic import recover_folder
from bc_sam.utils.hub_client import HubWaitError, bound_waiting, is_timeout
from bc_sam.utils.hub_id import reads_as_hub_id

#: Name and folder of the trained model that ships with the package.
EMBEDDED_MODEL = "bc-sam-tiny"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "models" / "embedded"

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


class SnapshotOptions(TypedDict, total=False):
    """Download options that every function loading from the Hub accepts as keyword arguments.

    Attributes:
        revision: Branch, tag or commit; ``main`` by default.
        token: Access token; by default the one stored by ``hf auth login``, ``False`` for none.
        cache_dir: Cache folder; by default the Hub's cache.
        local_files_only: Use cached files only, without contacting the Hub.
        force_download: Download cached files again.
    """

    revision: str | None
    token: str | bool | None
    cache_dir: str | Path | None
    local_files_only: bool
    force_download: bool


def is_hub_id(source: str | Path) -> bool:
    """Whether a source is a Hub id such as ``owner/name`` rather than a local path."""
    is_checkpoint = str(source).endswith((".pth", ".pt"))
    return reads_as_hub_id(str(source)) and not is_checkpoint and not Path(source).exists()


def display_name(source: str | Path) -> str:
    """Returns the name of a model without local folders: the Hub id, or the last component of a local path."""
    return str(source) if is_hub_id(source) else Path(source).name


def resolve_folder(
    source: str | Path, files: Sequence[str], *, subfolder: str | None = None, **options: Unpack[SnapshotOptions]
) -> Path:
    """Returns the local folder of a model, downloading a snapshot if the source is a Hub id.

    For a run folder of ``bc-sam train``, this is its folder ``model``.

    Args:
        source: Folder, Hub id such as ``"org/bc-sam"``, or ``"bc-sam-tiny"`` for the model shipped with the package.
        files: Patterns of the files to download.
        subfolder: Subfolder that contains the model.
        **options: Download options; see `SnapshotOptions`.

    Raises:
        ConfigError: If the subfolder is outside the repository.
        WeightsError: If the folder does not exist.
        HubError: If the repository or revision does not exist, or the Hub is unreachable.
    """
    inner = PurePosixPath(subfolder or "")
    if inner.is_absolute() or ".." in inner.parts:
        raise ConfigError(f"The subfolder {subfolder!r} leads out of the repository. Give a path inside it.")
    folder = Path(source).expanduser()
    for replaced in (folder, folder / "model"):
        recover_folder(replaced)
    if source == EMBEDDED_MODEL and not folder.exists():
        folder = EMBEDDED_FOLDER
    elif folder.is_dir():
        is_run = not (folder / "config.json").exists() and (folder / "model").is_dir() and subfolder is None
        folder = folder / ("model" if is_run else inner)
    elif is_hub_id(source):
        folder = download_snapshot(str(source), [str(inner / name) for name in files], **options) / inner
    else:
        raise WeightsError(f"There is no folder {source}, and it is not a Hub id such as 'owner/name'.")
    if not folder.is_dir():
        raise WeightsError(f"{source} has no folder {subfolder or '.'}. Check the subfolder.")
    return folder


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


@contextmanager
def damage_explained(source: str | Path, command: str) -> Iterator[None]:
    """Adds to an error about the files of a Hub repository how to fetch them again, since broken ones stay cached.

    Args:
        source: Hub id; errors about anything else are passed on.
        command: A command that fetches the files again.
    """
    try:
        yield
    except (WeightsError, ConfigError) as error:
        if not is_hub_id(source):
            raise
        raise type(error)(
            f"{error} A file that was damaged on its way from the Hub stays in the cache until it is fetched again: "
            f"{command} --force-download, or in Python force_download=True."
        ) from error
