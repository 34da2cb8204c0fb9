"""From a Hub id to a local folder that holds one revision of every part."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bc_sam.errors import WeightsError

#: The files of a model folder; nothing else of a repository is downloaded.
MODEL_FILES = ("*.json", "README.md", "adapter/*", "autoencoder/*", "classifiers/*.skops", "base/*")


def is_hub_id(source: str | Path) -> bool:
    """Tells a Hub id, which reads ``owner/name``, from the path of something that exists or should."""
    looks_like_id = re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(source)) is not None
    return looks_like_id and not str(source).endswith((".pth", ".pt")) and not Path(source).exists()


def resolve_folder(source: str | Path, **options: Any) -> Path:
    """Returns the local folder of a model: the folder itself, or one snapshot of a Hub repository.

    A run folder of ``bc-sam train`` stands for the folder ``model`` in it.

    Args:
        source: Folder, or Hub id such as ``"org/bc-sam"``.
        **options: For the Hub; see `download_snapshot`.

    Raises:
        WeightsError: If there is no such folder, repository or revision, or the Hub cannot be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / "model" if not (folder / "config.json").exists() and (folder / "model").is_dir() else folder
    if not is_hub_id(source):
        raise WeightsError(f"There is no folder {source}, and it is no Hub id either (those read 'owner/name').")
    return download_snapshot(str(source), MODEL_FILES, **options)


def download_snapshot(
    repo_id: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """Brings some files of one commit of a repository into the Hub's cache.

    Args:
        repo_id: Hub id.
        files: Patterns of the files' names.
        revision: Branch, tag or commit.
        token: Token for a private repository; ``None`` takes the one that ``hf auth login`` stored.
        cache_dir: Where snapshots are kept.
        local_files_only: Do not ask the Hub; take what an earlier call downloaded.
        force_download: Download again what is already there.

    Returns:
        The folder of the commit; its name is the commit's hash.

    Raises:
        WeightsError: If there is no such repository or revision, or the Hub cannot be reached.
    """
    try:
        folder = snapshot_download(
            repo_id,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
            allow_patterns=list(files),
        )
    except GatedRepoError as error:
        raise WeightsError(f"{repo_id} is gated: ask for access on its page, then run 'hf auth login'.") from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"There is no folder {repo_id} here and no repository of that name on the Hub that you may read. "
            "Check the spelling; for a private one run 'hf auth login' or pass token=."
        ) from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"{repo_id} has no revision {revision!r}. Look under 'Files' on its page.") from error
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"There is no folder {repo_id} here, it was never downloaded here, and the Hub was not asked or "
            "did not answer. Check the connection, or give the path of a folder that you copied."
        ) from error
    except (OSError, ValueError) as error:  # the Hub's other errors are of these kinds
        raise WeightsError(
            f"{repo_id} cannot be had from the Hub: {error} Check the id and the connection."
        ) from error
    return Path(folder)
