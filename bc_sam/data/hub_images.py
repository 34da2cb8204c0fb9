"""Hub repositories of plain images, loaded as the folders they are.

The library `datasets` sorts the files of a repository into splits by their names: if some contain a word such as
``dev`` or ``test``, it keeps those only, and with a ``metadata.csv`` it drops the labels that the folders give.
"""

import logging
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from bc_sam.data.file_search import find_images, is_image_name
from bc_sam.errors import DataError
from bc_sam.utils.hub import with_retries

logger = logging.getLogger(__name__)

# Formats that hold whole data sets, which `datasets` reads.
_TABLES = (".parquet", ".arrow", ".tar", ".gz", ".lance")
_CONTENT = (".zip",)


def download_images(repo_id: str, *, revision: str | None = None, token: str | None = None) -> Path | None:
    """Downloads a data set repository if it consists of plain images, or of zips of such.

    Args:
        repo_id: Hub id.
        revision: Branch, tag or commit.
        token: Access token; by default the stored one.

    Returns:
        The folder of the snapshot, or ``None`` if the repository holds tables, such as parquet files.

    Raises:
        DataError: If fewer images came than the repository lists.
    """
    try:
        # Not list_repo_files, which repeats requests for half a minute if there is no connection.
        info = with_retries(lambda: HfApi().dataset_info(repo_id, revision=revision, token=token))
        listed = [sibling.rfilename for sibling in info.siblings or []]
    except (OfflineModeIsEnabled, HTTPError, ConnectionError):
        return _cached_images(repo_id, revision)
    if not _is_of_images(listed):
        return None
    folder = Path(
        with_retries(lambda: snapshot_download(repo_id, repo_type="dataset", revision=revision, token=token))
    )
    n_listed = sum(_is_visible_image(name) for name in listed)
    n_found = len(find_images(folder))
    if n_found < n_listed:
        raise DataError(
            f"{repo_id} lists {n_listed} images, but only {n_found} came. Run the command again, or download the "
            "repository yourself."
        )
    logger.info("%s: %d images in the repository, all downloaded.", repo_id, n_listed)
    return folder


def _cached_images(repo_id: str, revision: str | None) -> Path | None:
    """Returns the cached snapshot of a repository of images, without contacting the Hub."""
    try:
        folder = Path(snapshot_download(repo_id, repo_type="dataset", revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if not _is_of_images(names):
        return None
    logger.warning("%s: the Hub cannot be reached, so the cached copy is read as it is.", repo_id)
    return folder


def _is_of_images(names: list[str]) -> bool:
    if any(name.lower().endswith(_TABLES) for name in names):
        return False
    return any(_is_visible_image(name) or name.lower().endswith(_CONTENT) for name in names)


def _is_visible_image(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return is_image_name(name) and not any(part.startswith(".") or part == "__MACOSX" for part in parts)
