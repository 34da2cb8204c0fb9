"""Reads the cells or fields of a block, one chunk ahead of whoever uses them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from bc_sam.data.blocks.block import Block, BlockCell
from bc_sam.data.blocks.stores import is_url, read_files, store_errors_explained, try_files
from bc_sam.data.blocks.tables import read_table
from bc_sam.data.blocks.tars import read_tar
from bc_sam.data.blocks.zips import read_zip
from bc_sam.utils.display import as_utf8

# Cells that are read at a time: from a store, so many requests run at once.
_CHUNK = 32

# Fields may have a gigabyte each.
_CHUNK_OF_FIELDS = 1

#: Reads the images of a block: `read_block` or `read_fields`.
Reader = Callable[[Block], Iterator[BlockCell]]


def read_block(block: Block) -> Iterator[BlockCell]:
    """Reads the cells of a block in order, a chunk of them ahead in a thread, in constant memory.

    Args:
        block: A block of a plan.

    Yields:
        The cells. One whose file is damaged beyond being read as bytes has an error instead of content.

    Raises:
        DataError: If the source has changed or cannot be reached, so that the block has to be read again later.
    """
    return _read_ahead(block, _images_of(block, _CHUNK), _CHUNK)


def read_fields(block: Block) -> Iterator[BlockCell]:
    """Reads the fields of a block in order, one ahead; files on disk are left to be opened by their path, in parts.

    Args:
        block: A block of a plan.

    Yields:
        The fields; see `read_block`.

    Raises:
        DataError: See `read_block`.
    """
    on_disk = block.kind == "files" and not is_url(block.url)
    return _read_ahead(block, _paths_of(block) if on_disk else _images_of(block, _CHUNK_OF_FIELDS), _CHUNK_OF_FIELDS)


def _read_ahead(block: Block, cells: Iterator[BlockCell], chunk_size: int) -> Iterator[BlockCell]:
    def next_chunk() -> list[BlockCell]:
        with store_errors_explained(block.url):
            return list(islice(cells, chunk_size))

    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next_chunk)
        while chunk := upcoming.result():
            upcoming = pool.submit(next_chunk)
            yield from chunk


def _images_of(block: Block, chunk_size: int) -> Iterator[BlockCell]:
    if block.kind == "files":
        return _read_files(block, chunk_size)
    readers: dict[str, Reader] = {"zip": read_zip, "tar": read_tar, "parquet": read_table}
    return readers[block.kind](block)


def _read_files(block: Block, chunk_size: int) -> Iterator[BlockCell]:
    for start in range(0, len(block.members), chunk_size):
        names = block.members[start : start + chunk_size]
        contents = read_files(block.url, names)
        for index, (name, content) in enumerate(zip(names, contents, strict=True), start):
            cell_id, source = _identify(block, index, name)
            if isinstance(content, bytes):
                yield BlockCell(cell_id, source, content)
            else:
                yield BlockCell(cell_id, source, error=_cannot_be_read(source, content))


def _paths_of(block: Block) -> Iterator[BlockCell]:
    problems = try_files(block.url, block.members)
    for index, (name, problem) in enumerate(zip(block.members, problems, strict=True)):
        cell_id, source = _identify(block, index, name)
        if problem is None:
            yield BlockCell(cell_id, source, path=Path(block.url, name))
        else:
            yield BlockCell(cell_id, source, error=_cannot_be_read(source, problem))


def _identify(block: Block, index: int, name: str) -> tuple[str, str]:
    """Returns the id of a file's cell, and where the file lies."""
    own = block.ids[index] if block.ids else name
    return as_utf8(f"{block.prefix}{own}"), as_utf8(f"{block.url}{name}")


def _cannot_be_read(source: str, reason: OSError) -> str:
    return f"{source} cannot be read: {reason.strerror}."
