"""Uploaded files, which are untrusted: lists, reads and removes them."""

import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from bc_sam.data.images import IMAGE_SUFFIXES
from bc_sam.errors import DataError, ImageError
from bc_sam.space.server.settings import PageSettings
from bc_sam.utils.private_folder import PrivateFolder
from bc_sam.utils.safe_zip import check_paths, unpacked_size

#: Prefix of the temporary folders of uploads.
UPLOADS_PREFIX = "bc_sam_page_"

#: Prefix of folders that belong to a single upload; see `bc_sam.space.server.upload_requests`.
UPLOAD_PREFIX = "own_"


@dataclass(frozen=True)
class Upload:
    """An uploaded image, alone or in a zip.

    Attributes:
        name: File name, including folders inside a zip but no path on the server.
        read: Returns its bytes, of which there may be more if ``max_bytes`` is given.
    """

    name: str
    read: Callable[..., bytes]


@contextmanager
def opened_uploads(files: Sequence[str | Path], settings: PageSettings) -> Iterator[list[Upload]]:
    """Lists the images among uploaded files and inside zips. Nothing is unpacked to disk.

    Raises:
        DataError: If there are none or too many, or a zip is damaged or unsafe.
    """
    with ExitStack() as stack:
        uploads: list[Upload] = []
        for file in map(Path, files):
            if file.suffix.lower() == ".zip":
                uploads += _in_zip(stack, file, settings)
            else:
                uploads.append(Upload(file.name, partial(read_file, file, max_bytes=settings.max_image_bytes)))
        if not uploads:
            raise DataError("The upload contains no images. Drop image files, or a zip of them.")
        if len(uploads) > settings.max_cells:
            raise DataError(
                f"{len(uploads):,} images are too many: the page accepts {settings.max_cells:,} at once. "
                "Drop fewer, or use the command line: bc-sam predict."
            )
        yield uploads


def image_sources(uploads: Sequence[Upload], errors: dict[int, ImageError]) -> Iterator[dict[str, Any]]:
    """Reads uploads one by one, in the format accepted by `bc_sam.data.images.read_image`.

    Args:
        uploads: The uploads to read.
        errors: Filled with the error of each unreadable upload, by index; empty bytes are yielded for it.
    """
    for index, upload in enumerate(uploads):
        content = b""
        try:
            content = upload.read()
        except ImageError as error:
            errors[index] = error
        yield {"bytes": content, "path": upload.name}


def _in_zip(stack: ExitStack, file: Path, settings: PageSettings) -> Iterator[Upload]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(file))
        check_paths(archive, DataError)
        unpacked_size(archive, DataError)
    except DataError as error:
        raise DataError(str(error).replace(str(file), file.name)) from None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(f"{file.name} is not a readable zip. Create it again, or drop the images.") from error
    for member in archive.infolist():
        path = PurePosixPath(member.filename)
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
        if not (member.is_dir() or hidden):
            yield Upload(str(path), partial(_read_member, archive, member, max_bytes=settings.max_image_bytes))


def read_file(file: Path, max_bytes: int) -> bytes:
    """Reads an upload of at most `max_bytes` bytes.

    Raises:
        ImageError: If it is larger, or no longer exists.
    """
    try:
        with file.open("rb") as stream:
            return _checked(stream.read(max_bytes + 1), file.name, max_bytes)
    except OSError:
        raise ImageError(f"{file.name} is no longer available. Drop it again.") from None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int) -> bytes:
    name = member.filename
    if not name.lower().endswith(IMAGE_SUFFIXES):
        raise ImageError(f"{name} is not an image file.")
    try:
        with archive.open(member) as stream:
            return _checked(stream.read(max_bytes + 1), name, max_bytes)
    except (OSError, RuntimeError, ValueError, NotImplementedError, EOFError, zipfile.BadZipFile, zipfile.zlib.error):  # type: ignore[attr-defined]
        raise ImageError(f"{name} cannot be unpacked: it is damaged or encrypted. Create the zip again.") from None


def _checked(content: bytes, name: str, max_bytes: int) -> bytes:
    if len(content) > max_bytes:
        raise ImageError(f"{name} is larger than {max_bytes // 2**20} MB. Drop a smaller image.")
    return content


def remove(files: Iterable[str | Path]) -> None:
    """Removes processed uploads. Other files, and those that two visitors may share, are kept."""
    for path in map(Path, files):
        if path.parent.name.startswith(UPLOAD_PREFIX):
            shutil.rmtree(path.parent, ignore_errors=True)


def stored_bytes() -> int:
    """Returns the size of the uploads on disk, bytes; a file with two names counts once."""
    sizes: dict[int, int] = {}
    for parent, _, names in os.walk(os.environ.get("GRADIO_TEMP_DIR", "")):
        for name in names:
            with suppress(OSError):  # removed meanwhile
                found = Path(parent, name).stat()
                sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


class UploadFolder:
    """A private folder for uploads, from which files expire.

    A file is removed once it has been processed; see `remove`. Expiry removes uploads that were never processed.

    Gradio stores uploads, and files that it serves, in the folder given by ``GRADIO_TEMP_DIR``.

    Args:
        keep_seconds: Lifetime of a file.
    """

    def __init__(self, keep_seconds: int) -> None:
        self._folder = PrivateFolder(UPLOADS_PREFIX)
        self.path = self._folder.path
        self.keep_seconds = keep_seconds
        self._closed = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_regularly, daemon=True)

    def __enter__(self) -> "UploadFolder":
        self._previous = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = str(self.path)
        self._sweeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._previous is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = self._previous
        self._folder.close()

    def _sweep_regularly(self) -> None:
        while not self._closed.wait(min(30, self.keep_seconds)):
            self.sweep()

    def sweep(self) -> None:
        """Removes expired files."""
        oldest = time.time() - self.keep_seconds
        # Unlike `Path.rglob`, this tolerates folders that are removed meanwhile.
        for parent, folders, files in os.walk(self.path, topdown=False):
            for path in (Path(parent, name) for name in [*files, *folders]):
                try:
                    if path.stat().st_ctime >= oldest:
                        continue
                    if path.is_file():
                        path.unlink()
                    elif path.name.startswith(UPLOAD_PREFIX):
                        path.rmdir()
                except OSError:
                    continue  # removed meanwhile, in use, or not empty yet
