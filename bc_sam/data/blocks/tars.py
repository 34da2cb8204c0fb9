"""Cells of tar archives, such as the shards of WebDataset."""

import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from lzma import LZMAError
from pathlib import PurePosixPath

from bc_sam.data.blocks.block import Block, BlockCell
from bc_sam.data.blocks.stores import StoredFile, is_url, open_file
from bc_sam.data.blocks.zips import MOST_BYTES
from bc_sam.data.file_search import is_image_name
from bc_sam.utils.display import as_utf8

#: Lower-case suffixes of tar archives.
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

# What reading a damaged or truncated archive raises.
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, LZMAError)

# A member, and its bytes; ``None`` if it is too large, or not read.
_Image = tuple[tarfile.TarInfo, bytes | None]

# Bytes that are read ahead from a store, as a shard is read from beginning to end.
_READ_AHEAD = 2**23


def plan_tar(file: StoredFile, size: int) -> Iterator[Block]:
    """Divides an archive into blocks, numbered 0.

    An archive on disk that is not compressed is divided, as skipping from header to header is fast there. Any other is
    one block, whose number of cells is not known before it is read; shards are small for this reason.

    Args:
        file: The archive.
        size: Number of cells of a block.
    """
    if is_url(file.url) or not file.name.lower().endswith(".tar"):
        yield Block(0, "tar", file.url, file.name)
        return
    blocks: list[tuple[int, list[str]]] = []  # offset and names
    with open_file(file.url) as opened:
        try:
            with tarfile.open(fileobj=opened, mode="r:") as archive:
                for sample in _samples((member, None) for member in archive if _is_cell(member)):
                    if not blocks or len(blocks[-1][1]) >= size:
                        blocks.append((sample[0][0].offset, []))
                    blocks[-1][1].extend(member.name for member, _ in sample)
        except _DAMAGED:  # reading it says where
            blocks = []
            yield Block(0, "tar", file.url, file.name)
    before = Counter[str]()
    for offset, names in blocks:
        repeated = tuple((name, before[name]) for name in dict.fromkeys(names) if name in before)
        yield Block(0, "tar", file.url, file.name, offset, len(names), repeated=repeated)
        before.update(names)


def read_tar(block: Block) -> Iterator[BlockCell]:
    """Reads the cells of a block of a tar. A damaged archive ends with a cell that says so.

    A tar may have several files of one name, as when files were appended to it: the second of ``1.png`` has the id
    ``1.png#2``.
    """
    yield from islice(_read(block), block.count)


def _read(block: Block) -> Iterator[BlockCell]:
    seen = Counter(dict(block.repeated))
    with open_file(block.url, block_size=_READ_AHEAD) as opened:
        opened.seek(block.start)
        try:
            with tarfile.open(fileobj=opened, mode="r|" if block.start else "r|*") as archive:
                for sample in _samples((member, _content(archive, member)) for member in archive if _is_cell(member)):
                    for member, content in sample:
                        seen[member.name] += 1
                        name = member.name if seen[member.name] == 1 else f"{member.name}#{seen[member.name]}"
                        cell_id, source = f"{block.prefix}/{name}", f"{block.url}/{name}"
                        error = None if content is not None else f"{source} is too large for an image."
                        yield BlockCell(as_utf8(cell_id), as_utf8(source), content or b"", error)
        except _DAMAGED as error:
            reason = f"{block.url} is damaged or incomplete from here on ({error}). Copy or download it again."
            yield BlockCell(block.prefix, block.url, error=reason)


def _samples(images: Iterable[_Image]) -> Iterator[list[_Image]]:
    """Yields the images of each sample, which are the consecutive files with one name up to the first dot.

    Where a sample has a plain image, such as ``1.png``, further ones, such as ``1.mask.png``, are no cells.
    """
    for _, group in groupby(images, key=lambda image: _key(image[0].name)):
        sample = list(group)
        plain = [image for image in sample if PurePosixPath(image[0].name).name.count(".") == 1]
        yield plain or sample


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    file = archive.extractfile(member) if member.size <= MOST_BYTES else None
    return None if file is None else file.read()


def _is_cell(member: tarfile.TarInfo) -> bool:
    hidden = any(part.startswith(".") and part != "." for part in PurePosixPath(member.name).parts)
    return member.isfile() and is_image_name(member.name) and not hidden


def _key(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"
