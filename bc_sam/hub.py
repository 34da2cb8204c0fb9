"""From a Hub id or a folder to one local folder, of one revision, that holds every part of a model."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bc_sam.errors import WeightsError

#: The files of a model folder; nothing else of a repository is downloaded.
MODEL_FILES = ("*.json", "README.md", "adapter/*", "autoencoder/*", "classifiers/*.skops", "base/*")


def resolve_folder(
    source: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """Returns the local folder of a model: the folder itself, or one snapshot of a Hub repository.

    A run folder of ``bc-sam train`` stands for the folder ``model`` in it.

    Args:
        source: Folder, or Hub id such as ``"org/bc-sam"``.
        revision: Branch, tag or commit on the Hub.
        token: Token for a private repository; ``None`` takes the one that ``hf auth login`` stored.
        cache_dir: Where snapshots are kept.
        local_files_only: Do not ask the Hub; take what an earlier call downloaded.
        force_download: Download again what is already there.

    Raises:
        WeightsError: If there is no such folder, repository or revision, or the Hub cannot be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / "model" if not (folder / "config.json").exists() and (folder / "model").is_dir() else folder
    if folder.is_absolute() or str(source).startswith(".") or str(source).count("/") != 1:
        raise WeightsError(f"There is no folder {source}, and it is no Hub id either (those read 'owner/name').")
    try:
        return Path(
            snapshot_download(
                str(source),
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                force_download=force_download,
                allow_patterns=list(MODEL_FILES),
            )
        )
    except GatedRepoError as error:
        raise WeightsError(f"{source} is gated: ask for access on its page, then run 'hf auth login'.") from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"There is no folder {source} here and no repository of that name on the Hub that you may read. "
            "Check the spelling; for a private one run 'hf auth login' or pass token=."
        ) from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"{source} has no revision {revision!r}. Look under 'Files' on its page.") from error
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"{source} has not been downloaded to this machine, and the Hub was not asked or did not answer. "
            "Connect once, or pass the path of a folder that you copied."
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise WeightsError(f"The Hub refused {source}: {error}") from error
