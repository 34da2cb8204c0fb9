"""Safe unpacking of downloaded zip archives into the cache of `datasets`."""

import hashlib
import logging
import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath

import datasets
from tqdm import tqdm

from bc_sam.errors import DataError
from bc_sam.utils.atomic import folder_written_aside
from bc_sam.utils.safe_zip import check_paths, unpacked_size

logger = logging.getLogger(__name__)

_MAX_DEPTH = 2


def as_folder(source: str | os.PathLike[str]) -> Path:
    """Returns a folder unchanged, or the folder that a zip archive is unpacked to.

    Zip archives in the archive are unpacked to folders of their names. What macOS adds to archives is left out.

    Archives are unpacked to disk because the published ones have several gigabytes. The folder is in the cache of
    `datasets` (environment variable ``HF_DATASETS_CACHE``) and is reused as long as the archive is unchanged.

    Args:
        source: Folder or zip archive.

    Raises:
        DataError: If the source is neither, or the archive is damaged, encrypted, too large for the disk, a zip bomb,
            or has members outside its folder.
    """
    path = Path(source)
    if path.is_dir():
        return path
    if not path.exists():
        raise DataError(f"{path} does not exist. Give a folder of images or a zip archive.")
    if not (path.is_file() and zipfile.is_zipfile(path)):  # a pipe would be waited for without end
        raise DataError(f"{path} is neither a folder nor a zip archive. Unpack it, or convert it to zip.")
    folder = _cache_folder(path)
    if not folder.is_dir():
        _unpack(path, folder)
    return folder


def _cache_folder(path: Path) -> Path:
    stat = path.stat()
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|unpacked with inner archives"
    name = f"{path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return Path(datasets.config.EXTRACTED_DATASETS_PATH) / name


def _unpack(path: Path, folder: Path) -> None:
    """Unpacks to a temporary folder and renames it at the end, so that a failure leaves no partial folder."""
    logger.info("Unpacking %s to %s.", path, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with folder_written_aside(folder, keep_existing=True) as partial:
            _extract(path, partial)
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError, NotImplementedError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path} cannot be unpacked: {error}. Download it again, or unpack it yourself.") from error


def _extract(path: Path, folder: Path, depth: int = 0) -> None:
    """Unpacks an archive, and the archives in it, each after a check of its table of contents."""
    if depth > _MAX_DEPTH:
        raise DataError(f"{path.name} is an archive in {depth} others. Unpack it yourself.")
    with zipfile.ZipFile(path) as archive:
        _check(archive, folder)
        members = [member for member in archive.infolist() if not _is_of_macos(member.filename)]
        for member in tqdm(members, desc=f"Unpacking {path.name}", unit="file", disable=None):
            archive.extract(member, folder)
    for inner in sorted(folder.rglob("*")):
        if inner.suffix.lower() == ".zip" and inner.is_file() and zipfile.is_zipfile(inner):
            target = (
                inner.with_name(f"{inner.stem}.unpacked") if inner.with_suffix("").exists() else inner.with_suffix("")
            )
            target.mkdir()
            _extract(inner, target, depth + 1)
            inner.unlink()


def _is_of_macos(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or (bool(parts) and (parts[-1].startswith("._") or parts[-1] == ".DS_Store"))


def _check(archive: zipfile.ZipFile, folder: Path) -> None:
    """Checks the table of contents; `zipfile` writes no more than the declared size of a member."""
    check_paths(archive, DataError)
    total = unpacked_size(archive, DataError)
    if total > shutil.disk_usage(folder).free:
        raise DataError(
            f"{archive.filename} needs {total} bytes, more than is free in {folder.parent}. Free some disk space."
        )
