"""Cells of zip archives, read where they lie, without unpacking."""

import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath

from bc_sam.data.blocks.block import Block, BlockCell
from bc_sam.data.blocks.stores import StoredFile, open_file
from bc_sam.data.file_search import is_image_name
from bc_sam.errors import DataError
from bc_sam.utils.display import as_utf8

#: Largest file that is read as an image, bytes: far above any cell, and what a zip bomb may cost at most.
MOST_BYTES = 2**29


def plan_zip(file: StoredFile, size: int) -> Iterator[Block]:
    """Divides the images of an archive into blocks, numbered 0.

    Raises:
        DataError: If it cannot be read as a zip.
    """
    with open_file(file.url) as opened:
        try:
            n_cells = len(_images(zipfile.ZipFile(opened)))
        except zipfile.BadZipFile as error:
            raise DataError(f"{file.url} is damaged ({error}). Copy or download it again.") from error
    for start in range(0, n_cells, size):
        yield Block(0, "zip", file.url, file.name, start, min(size, n_cells - start))


def read_zip(block: Block) -> Iterator[BlockCell]:
    """Reads the cells of a block of a zip."""
    with open_file(block.url) as opened, zipfile.ZipFile(opened) as archive:
        for info in islice(_images(archive), block.start, block.start + (block.count or 0)):
            cell_id, source = as_utf8(f"{block.prefix}/{info.filename}"), as_utf8(f"{block.url}/{info.filename}")
            if info.file_size > MOST_BYTES:
                yield BlockCell(cell_id, source, error=f"{source} is too large for an image: {info.file_size} bytes.")
                continue
            try:
                yield BlockCell(cell_id, source, archive.read(info))
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
                yield BlockCell(cell_id, source, error=f"{source} is damaged or encrypted ({error}). Export it again.")


def _images(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Returns the images in the order of their names, each name once, as the last entry of a name is the valid one."""
    entries = {info.filename: info for info in archive.infolist() if _is_cell(info.filename)}
    return [entries[name] for name in sorted(entries)]


def _is_cell(name: str) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
    return is_image_name(name) and not hidden
