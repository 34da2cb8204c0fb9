"""Reads the cells of a block, one chunk ahead of whoever uses them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from bc_sam.data.blocks.block import Block, BlockCell
from bc_sam.data.blocks.stores import read_files, store_errors_explained
from bc_sam.data.blocks.tables import read_table
from bc_sam.data.blocks.tars import read_tar
from bc_sam.data.blocks.zips import read_zip
from bc_sam.utils.display import as_utf8

# Cells that are read at a time: from a store, so many requests run at once.
_CHUNK = 32


def read_block(block: Block) -> Iterator[BlockCell]:
    """Reads the cells of a block in order, a chunk of them ahead in a thread, in constant memory.

    Args:
        block: A block of a plan.

    Yields:
        The cells. One whose file is damaged beyond being read as bytes has an error instead of content.

    Raises:
        DataError: If the source has changed or cannot be reached, so that the block has to be read again later.
    """
    readers = {"files": _read_files, "zip": read_zip, "tar": read_tar, "parquet": read_table}
    cells = readers[block.kind](block)

    def next_chunk() -> list[BlockCell]:
        with store_errors_explained(block.url):
            return list(islice(cells, _CHUNK))

    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next_chunk)
        while chunk := upcoming.result():
            upcoming = pool.submit(next_chunk)
            yield from chunk


def _read_files(block: Block) -> Iterator[BlockCell]:
    for start in range(0, len(block.members), _CHUNK):
        names = block.members[start : start + _CHUNK]
        for name, content in zip(names, read_files(block.url, names), strict=True):
            source = as_utf8(f"{block.url}{name}")
            cell_id = as_utf8(f"{block.prefix}{name}")
            if isinstance(content, bytes):
                yield BlockCell(cell_id, source, content)
            else:
                yield BlockCell(cell_id, source, error=f"{source} cannot be read: {content.strerror}.")
