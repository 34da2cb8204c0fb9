"""Files on disk, on the Hub and in object stores, all through fsspec."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

from bc_sam.data.file_search import walk_files
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Python packages that open the stores that fsspec knows, where the name of the package is not that of the store.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}

# Seconds between attempts to read from a store.
_WAITS = (0.5, 2.0, 8.0)

# Files that are requested from a store at the same time.
_REQUESTS = 16

# Bytes that are read at a time of a file of any size.
_READ = 2**20

# What stores call the properties that change with the content of a file, in the order of trust.
_STAMPS = ("ETag", "etag", "blob_id", "md5Hash", "content_md5", "mtime", "LastModified", "updated", "last_modified")


@dataclass(frozen=True)
class StoredFile:
    """A file of a source.

    Attributes:
        url: Path, or address in the store, with forward slashes; it ends in `name`.
        name: Path relative to the source, with forward slashes.
        size: Bytes; -1 if it is a link that leads nowhere.
        stamp: What changes with the content: a hash of the store, or the time of the last change.
        cell_id: The id of its cell, if a table gives one.
    """

    url: str
    name: str
    size: int
    stamp: str
    cell_id: str = ""

    @property
    def root(self) -> str:
        """What precedes the name in the url: the folder of the source, with its slash."""
        return self.url.removesuffix(self.name)


def is_url(source: str) -> bool:
    """Whether a source is an address such as ``s3://bucket/cells`` rather than a path.

    Example:
        >>> is_url("s3://bucket/cells"), is_url("C:/cells"), is_url("cells")
        (True, False, False)
    """
    return "://" in source


def list_files(source: str) -> list[StoredFile]:
    """Lists a file, or all files of a folder and its subfolders, except hidden ones, sorted by name.

    Args:
        source: Path or address; the name of a single file is that of the file alone.

    Raises:
        DataError: If the source does not exist, may not be listed, or a package that opens its store is missing.
    """
    return sorted(_list_store(source) if is_url(source) else _list_disk(Path(source)), key=lambda file: file.name)


def file_on_disk(path: Path, name: str, cell_id: str = "") -> StoredFile:
    """Returns what is known of a file on disk.

    Args:
        path: The file.
        name: Its path relative to the source, with which it ends.
        cell_id: The id of its cell, if a table gives one.
    """
    try:
        stat = path.stat()
    except OSError:  # a link that leads nowhere, which becomes a row of its own
        return StoredFile(path.as_posix(), name, -1, "", cell_id)
    return StoredFile(path.as_posix(), name, stat.st_size, str(stat.st_mtime_ns), cell_id)


def open_file(url: str, *, block_size: int | None = None) -> BinaryIO:
    """Opens a file for reading, by path or address.

    Args:
        url: Path or address.
        block_size: Bytes that are read ahead from a store; by default as the store does.

    Raises:
        DataError: If it cannot be opened.
    """
    with store_errors_explained(url):
        if not is_url(url):
            return open(url, "rb")
        filesystem, path = _filesystem(url)
        options = {} if block_size is None else {"block_size": block_size}
        return cast("BinaryIO", with_retries(lambda: filesystem.open(path, "rb", **options), url))


def read_files(root: str, names: tuple[str, ...]) -> list[bytes | OSError]:
    """Reads several files of a folder; from a store, at the same time.

    Args:
        root: Path or address of the folder, up to and including its last slash.
        names: Files relative to it.

    Returns:
        The bytes of each file, or why this one alone cannot be read: it is a link that leads nowhere, or may not be
        read.

    Raises:
        DataError: If a file has gone since it was listed, or the store cannot be reached.
    """
    with store_errors_explained(root):
        if not is_url(root):
            return [_read_disk(Path(root, name)) for name in names]
        filesystem, path = _filesystem(root)
        folder = f"{path.rstrip('/')}/"

        def read(name: str) -> bytes:
            return with_retries(lambda: cast("bytes", filesystem.cat_file(folder + name)), root + name)

        with ThreadPoolExecutor(_REQUESTS) as pool:
            return list(pool.map(read, names))


def with_retries(call: Callable[[], T], url: str) -> T:
    """Repeats a call to a store that fails for a moment: any error but a missing file or a denied access."""
    for wait in _WAITS:
        try:
            return call()
        except (FileNotFoundError, PermissionError, ImportError, ValueError):
            raise
        except OSError as error:
            logger.info("%s: %s. Trying again in %g s.", url, error, wait)
            time.sleep(wait)
    return call()


def try_files(root: str, names: Sequence[str]) -> Iterator[OSError | None]:
    """Yields why each file of a folder on disk cannot be read, or ``None``; see `read_files`.

    Args:
        root: Path of the folder, up to and including its last slash.
        names: Files relative to it.

    Raises:
        OSError: If a file has gone since it was listed, or the disk fails.
    """
    for name in names:
        first = _read_disk(Path(root, name), n_bytes=1)
        yield first if isinstance(first, OSError) else None


def require_readable(path: Path) -> None:
    """Checks that the disk gives all bytes of a file, whatever they are; one that may not be read is passed over.

    Raises:
        DataError: If the file has gone since it was listed, or the disk fails.
    """
    with store_errors_explained(str(path)), suppress(PermissionError, IsADirectoryError), path.open("rb") as file:
        while file.read(_READ):
            pass


@contextmanager
def store_errors_explained(url: str) -> Iterator[None]:
    """Turns what fsspec and the clients of stores raise into an error that says what to do.

    Raises:
        DataError: If the block fails.
    """
    protocol = url.partition("://")[0]
    try:
        yield
    except DataError:
        raise
    except ImportError as error:
        package = _PACKAGES.get(protocol, protocol)
        raise DataError(
            f"{url} needs the Python package {package}, which is not installed. Run: pip install {package}"
        ) from error
    except FileNotFoundError as error:
        raise DataError(
            f"{url} does not exist, or a file of it no longer does: {error}. Check the address."
        ) from error
    except PermissionError as error:
        raise DataError(
            f"{url} may not be read: {error}. Check the permissions, and for a store the credentials in the "
            "environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or GOOGLE_APPLICATION_CREDENTIALS."
        ) from error
    except Exception as error:  # the clients of stores have exceptions of their own
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{url} cannot be read: {reason}. Check the address and the connection, and for a store the "
            "credentials in the environment."
        ) from error


def _list_store(source: str) -> Iterator[StoredFile]:
    with store_errors_explained(source):
        filesystem, root = _filesystem(source)
        protocol = source.partition("://")[0]
        found: Mapping[str, dict[str, Any]] = with_retries(lambda: filesystem.find(root, detail=True), source)
        if not found:
            raise FileNotFoundError("it holds no file")
        for path, info in found.items():
            name = PurePosixPath(path).relative_to(root.rstrip("/")).as_posix()
            name = PurePosixPath(path).name if name == "." else name
            parts = PurePosixPath(name).parts
            if not any(part.startswith(".") or part == "__MACOSX" for part in parts):
                yield StoredFile(f"{protocol}://{path}", name, int(info.get("size") or 0), _stamp(info))


def _list_disk(source: Path) -> Iterator[StoredFile]:
    if not source.exists():
        raise DataError(
            f"{source} does not exist. Give a folder, an archive, a parquet file or an address of a store."
        )
    for path in walk_files(source) if source.is_dir() else [source]:
        yield file_on_disk(path, path.relative_to(source).as_posix() if source.is_dir() else path.name)


def _stamp(info: Mapping[str, Any]) -> str:
    return next((str(info[name]) for name in _STAMPS if info.get(name)), "")


def _read_disk(path: Path, n_bytes: int = -1) -> bytes | OSError:
    try:
        with path.open("rb") as file:
            return file.read(n_bytes)
    except FileNotFoundError as error:
        if os.path.lexists(path):
            return error
        raise
    except (PermissionError, IsADirectoryError) as error:
        return error


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    filesystem, path = fsspec.url_to_fs(url)
    return filesystem, path
