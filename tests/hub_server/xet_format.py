"""The format of Xet uploads: xorbs hold chunks of content, shards map files to chunks."""

import struct
from typing import NamedTuple

_ROW = 48
_END_OF_FILES = b"\xff" * 32
_END_OF_CHUNKS = b"XETBLOB"
_HAS_VERIFICATION, _HAS_SHA256 = 1 << 31, 1 << 30


class Term(NamedTuple):
    """A range of chunks of one xorb, part of a file."""

    xorb: str
    start: int
    stop: int
    size: int


class XetFile(NamedTuple):
    """A file described by a shard."""

    hash: str
    sha256: str | None
    terms: list[Term]


def hash_text(raw: bytes) -> str:
    """Formats a 32-byte hash as in Xet, as four little-endian 64-bit words."""
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))


def read_shard(data: bytes) -> list[XetFile]:
    """Returns the files of a shard."""
    files, at = [], _ROW
    while data[at : at + 32] != _END_OF_FILES:
        name, flags, count = struct.unpack("<32sII", data[at : at + 40])
        at += _ROW
        terms = [_read_term(data[row : row + _ROW]) for row in range(at, at + _ROW * count, _ROW)]
        at += _ROW * count * (2 if flags & _HAS_VERIFICATION else 1)
        sha256 = None
        if flags & _HAS_SHA256:
            sha256, at = hash_text(data[at : at + 32]), at + _ROW
        files.append(XetFile(hash_text(name), sha256, terms))
    return files


def _read_term(row: bytes) -> Term:
    xorb, _, size, start, stop = struct.unpack("<32sIIII", row)
    return Term(hash_text(xorb), start, stop, size)


def read_xorb(data: bytes) -> tuple[list[tuple[int, int]], int]:
    """Returns the offset and unpacked size of each chunk of a xorb, and the end of the last one."""
    chunks, at = [], 0
    while at < len(data) and not data.startswith(_END_OF_CHUNKS, at):
        packed, unpacked = (int.from_bytes(data[at + i : at + i + 3], "little") for i in (1, 5))
        chunks.append((at, unpacked))
        at += 8 + packed
    return chunks, at
