"""Where a model lies: the bundled one, a local folder, or the Hub, whose client is only imported if it is needed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypedDict, Unpack

from bc_sam.errors import ConfigError, WeightsError
from bc_sam.utils.atomic import recover_folder
from bc_sam.utils.hub_id import reads_as_hub_id

#: Name and folder of the trained model that ships with the package.
EMBEDDED_MODEL = "bc-sam-tiny"
EMBEDDED_FOLDER = Path(__file__).parents[1] / "models" / "embedded"


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
        from bc_sam.utils.hub import download_snapshot

        folder = download_snapshot(str(source), [str(inner / name) for name in files], **options) / inner
    else:
        raise WeightsError(f"There is no folder {source}, and it is not a Hub id such as 'owner/name'.")
    if not folder.is_dir():
        raise WeightsError(f"{source} has no folder {subfolder or '.'}. Check the subfolder.")
    return folder


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
