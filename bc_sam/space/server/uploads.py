"""Files from strangers: what is an image among them, how each is read, and when they are removed."""

import os
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from bc_sam.data.images import IMAGE_SUFFIXES
from bc_sam.errors import DataError, ImageError
from bc_sam.space.server.settings import PageSettings
from bc_sam.utils.safe_zip import check_paths, unpacked_size

#: How the folder of a file begins that belongs to one upload alone; see `bc_sam.space.server.upload_requests`.
OWN = "own_"


@dataclass(frozen=True)
class Upload:
    """An image that was dropped, alone or in a zip.

    Attributes:
        name: Its file name, in a zip with the folders in it; nothing of where it lies on this machine.
        read: Returns its bytes.
    """

    name: str
    read: Callable[[], bytes]


@contextmanager
def opened_uploads(files: Sequence[str | Path], settings: PageSettings) -> Iterator[list[Upload]]:
    """Lists the images among some files and in their zips. Nothing is unpacked to the disk.

    Raises:
        DataError: If there is none, there are too many, or a zip is damaged or not to be trusted.
    """
    with ExitStack() as stack:
        uploads: list[Upload] = []
        for file in map(Path, files):
            if file.suffix.lower() == ".zip":
                uploads += _in_zip(stack, file, settings)
            else:
                uploads.append(Upload(file.name, partial(read_file, file, settings.max_image_bytes)))
        if not uploads:
            raise DataError("There is no image in it. Drop image files, or a zip of them.")
        if len(uploads) > settings.max_cells:
            raise DataError(
                f"These are {len(uploads):,} images; the page takes {settings.max_cells:,} at once. "
                "Drop fewer, or use the command line: bc-sam predict."
            )
        yield uploads


def image_sources(uploads: Sequence[Upload], errors: dict[int, ImageError]) -> Iterator[dict[str, Any]]:
    """Reads uploads one after the other, in the form that `bc_sam.data.images.read_image` takes.

    Args:
        uploads: What to read.
        errors: Is filled with why an upload, by its place, could not be read; empty bytes stand for it.
    """
    for place, upload in enumerate(uploads):
        content = b""
        try:
            content = upload.read()
        except ImageError as error:
            errors[place] = error
        yield {"bytes": content, "path": upload.name}


def _in_zip(stack: ExitStack, file: Path, settings: PageSettings) -> Iterator[Upload]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(file))
        check_paths(archive, DataError)
        unpacked_size(archive, DataError)
    except DataError as error:
        raise DataError(str(error).replace(str(file), file.name)) from None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(f"{file.name} cannot be opened as a zip. Make it again, or drop the images.") from error
    for member in archive.infolist():
        path = PurePosixPath(member.filename)
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
        if not (member.is_dir() or hidden):
            yield Upload(str(path), partial(_read_member, archive, member, settings.max_image_bytes))


def read_file(file: Path, most: int) -> bytes:
    """Reads an upload of at most so many bytes.

    Raises:
        ImageError: If it has more, or has gone.
    """
    try:
        with file.open("rb") as stream:
            return _checked(stream.read(most + 1), file.name, most)
    except OSError:
        raise ImageError(f"{file.name} is no longer here. Drop it again.") from None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    name = member.filename
    if not name.lower().endswith(IMAGE_SUFFIXES):
        raise ImageError(f"{name} is not an image file.")
    try:
        with archive.open(member) as stream:
            return _checked(stream.read(most + 1), name, most)
    except (OSError, RuntimeError, ValueError, NotImplementedError, EOFError, zipfile.BadZipFile, zipfile.zlib.error):  # type: ignore[attr-defined]
        raise ImageError(f"{name} cannot be unpacked: it is damaged or encrypted. Make the zip again.") from None


def _checked(content: bytes, name: str, most: int) -> bytes:
    if len(content) > most:
        raise ImageError(f"{name} has more than {most // 2**20} MB. Give an image of one cell.")
    return content


def remove(files: Iterable[str | Path]) -> None:
    """Removes uploads when the work on them is done. Any other file, and one that two visitors may share, stays."""
    for path in map(Path, files):
        if path.parent.name.startswith(OWN):
            shutil.rmtree(path.parent, ignore_errors=True)


class UploadFolder:
    """A folder for what visitors upload, which nobody else reads, and out of which all vanishes with time.

    A file is removed when the work on it is done; see `remove`. With time goes what nobody asked anything about.

    Gradio puts uploads, and files that it sends, into the folder that ``GRADIO_TEMP_DIR`` names.

    Args:
        keep_seconds: How long a file stays.
    """

    def __init__(self, keep_seconds: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="bc_sam_page_"))
        self.keep_seconds = keep_seconds
        self._closed = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_on, daemon=True)

    def __enter__(self) -> "UploadFolder":
        self._before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = str(self.path)
        self._sweeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._before is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = self._before
        shutil.rmtree(self.path, ignore_errors=True)

    def _sweep_on(self) -> None:
        while not self._closed.wait(min(30, self.keep_seconds)):
            self.sweep()

    def sweep(self) -> None:
        """Removes what has lain there long enough."""
        oldest = time.time() - self.keep_seconds
        # Unlike `Path.rglob`, this walks on where a folder has just been removed by an answer.
        for parent, folders, files in os.walk(self.path, topdown=False):
            for path in (Path(parent, name) for name in [*files, *folders]):
                try:
                    if path.stat().st_ctime >= oldest:
                        continue
                    if path.is_file():
                        path.unlink()
                    elif path.name.startswith(OWN):
                        path.rmdir()
                except OSError:
                    continue  # another has removed it, or holds it, or it is not empty yet
