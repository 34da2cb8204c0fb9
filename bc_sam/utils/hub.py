"""From a Hub id to a local folder that holds one revision of every part."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypedDict, TypeVar, Unpack

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bc_sam.errors import ConfigError, HubError, WeightsError
from bc_sam.utils.hub_id import reads_as_hub_id

#: Name of the trained model inside the package, and where it lies.
EMBEDDED_MODEL = "bc-sam-tiny"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "models" / "embedded"

#: What the network, the Hub's client and its transfer library raise.
HUB_ERRORS = (HTTPError, OSError, ValueError, RuntimeError)

# Seconds between tries. The client itself retries uploads of content for 23 seconds, but neither commits nor look-ups.
_WAITS = (1, 2, 4)
_PATIENCE = 10
_TRANSIENT = (408, 429, 500, 502, 503, 504)

# A server closed an idle connection as it was used again. By name, since the library below the client changes.
_DROPPED = ("RemoteProtocolError", "ReadError")

T = TypeVar("T")


class SnapshotOptions(TypedDict, total=False):
    """How a snapshot of a repository is downloaded; whatever loads from the Hub takes these as keyword arguments.

    Attributes:
        revision: Branch, tag or commit; by default ``main``.
        token: Token for a private repository; by default the one that ``hf auth login`` stored, ``False`` for none.
        cache_dir: Where snapshots are kept; by default the Hub's cache.
        local_files_only: Do not ask the Hub; take what an earlier call downloaded.
        force_download: Download again what is already there.
    """

    revision: str | None
    token: str | bool | None
    cache_dir: str | Path | None
    local_files_only: bool
    force_download: bool


def is_hub_id(source: str | Path) -> bool:
    """Tells a Hub id, which reads ``owner/name``, from the path of something that exists or should."""
    is_checkpoint = str(source).endswith((".pth", ".pt"))
    return reads_as_hub_id(str(source)) and not is_checkpoint and not Path(source).exists()


def display_name(source: str | Path) -> str:
    """Returns the name of a model that may be shown in public: a Hub id as it is, the last part of a local path."""
    return str(source) if is_hub_id(source) else Path(source).name


def resolve_folder(
    source: str | Path, files: Sequence[str], *, subfolder: str | None = None, **options: Unpack[SnapshotOptions]
) -> Path:
    """Returns the local folder of a model: the folder itself, or one snapshot of a Hub repository.

    A run folder of ``bc-sam train`` stands for the folder ``model`` in it.

    Args:
        source: Folder, Hub id such as ``"org/bc-sam"``, or ``"bc-sam-tiny"`` for the model inside the package.
        files: Patterns of the files to download.
        subfolder: Folder in it that holds the model.
        **options: For the Hub; see `SnapshotOptions`.

    Raises:
        ConfigError: If the subfolder leads out of the repository.
        WeightsError: If there is no such folder.
        HubError: If there is no such repository or revision, or the Hub cannot be reached.
    """
    inner = PurePosixPath(subfolder or "")
    if inner.is_absolute() or ".." in inner.parts:
        raise ConfigError(f"The subfolder {subfolder!r} leads out of the repository. Name a folder in it.")
    folder = Path(source).expanduser()
    if source == EMBEDDED_MODEL and not folder.exists():
        folder = EMBEDDED_FOLDER
    elif folder.is_dir():
        is_run = not (folder / "config.json").exists() and (folder / "model").is_dir() and subfolder is None
        folder = folder / ("model" if is_run else inner)
    elif is_hub_id(source):
        folder = download_snapshot(str(source), [str(inner / name) for name in files], **options) / inner
    else:
        raise WeightsError(f"There is no folder {source}, and it is no Hub id either (those read 'owner/name').")
    if not folder.is_dir():
        raise WeightsError(f"{source} has no folder {subfolder or '.'} with a model. Look under 'Files' on its page.")
    return folder


def download_snapshot(repo_id: str, files: Sequence[str], **options: Unpack[SnapshotOptions]) -> Path:
    """Downloads some files of one commit of a repository into the Hub's cache.

    Args:
        repo_id: Hub id.
        files: Patterns of the files' names.
        **options: See `SnapshotOptions`.

    Returns:
        The folder of the commit; its name is the commit's hash.

    Raises:
        HubError: If there is no such repository or revision, or the Hub cannot be reached.
    """
    try:
        folder = with_retries(lambda: snapshot_download(repo_id, allow_patterns=list(files), **options))
    except HUB_ERRORS as error:
        raise HubError(explain(error, repo_id, options.get("revision"))) from error
    return Path(folder)


def with_retries(call: Callable[[], T]) -> T:
    """Calls again when the Hub is overloaded, out of order or hangs up, up to three times and for ten seconds."""
    start = time.monotonic()
    for wait in _WAITS:
        try:
            return call()
        except HUB_ERRORS as error:
            if not is_transient(error) or time.monotonic() - start > _PATIENCE:
                raise
        time.sleep(wait)
    return call()


def is_transient(error: BaseException | None) -> bool:
    """Whether the Hub failed in a way that passes; the client hides some of its answers behind other errors."""
    while error is not None:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in _TRANSIENT:
            return True
        if isinstance(error, HTTPError) and type(error).__name__ in _DROPPED:
            return True
        error = error.__cause__
    return False


def explain(error: BaseException, repo_id: str, revision: str | None = None) -> str:
    """Says in plain words why a call of the Hub failed, and what to do."""
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated: ask for access on its page, then run 'hf auth login'."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no folder {repo_id} here and no repository of that name on the Hub that you may read. "
            "Check the spelling; for a private one run 'hf auth login' or pass token=."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no revision {revision!r}. Look under 'Files' on its page."
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"There is no folder {repo_id} here, it was never downloaded in full here, and the Hub was not asked or "
            f"did not answer ({error.__cause__ or 'local files only'}). Check the connection, or give the path of a "
            "folder that you copied."
        )
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return f"The Hub does not know your token, so {repo_id} was left alone. Run 'hf auth login' or pass token=."
    if status == 403:
        return f"Your token may not do that with {repo_id}. Take one with the right to write, or ask its owner."
    return f"{repo_id}: the Hub's answer was: {error} Check the id and the connection, then try again."
