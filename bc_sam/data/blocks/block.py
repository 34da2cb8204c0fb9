"""A block of cells: the unit in which a large source is read, computed, written and repeated after a failure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from bc_sam.utils.json_config import JsonConfig

#: How the cells of a block are stored.
Kind = Literal["files", "zip", "tar", "parquet"]


@dataclass(frozen=True)
class Block(JsonConfig):
    """Consecutive cells of a source.

    Attributes:
        index: Number of the block in its plan, from 0.
        kind: How the cells are stored.
        url: Folder of the files with its slash, or the archive or table; a path, or an address that fsspec reads.
        prefix: What precedes the name of a cell in its id: the name of the archive or table within the source.
        start: The first cell: its number among the images of a zip, its row in a parquet file, or the offset of its
            header in a tar, bytes.
        count: Number of cells; ``None`` for a tar that is only read once, to its end.
        members: Files relative to `url`, for ``"files"`` only.
        ids: Their ids, if a table gives them.
        repeated: Names in a tar that precede the block, too, and how often.
        image_column: Column of the images in a parquet file.
        file_column: Column of their names, if there is one.
    """

    index: int
    kind: Kind
    url: str
    prefix: str = ""
    start: int = 0
    count: int | None = None
    members: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    repeated: tuple[tuple[str, int], ...] = ()
    image_column: str = ""
    file_column: str | None = None

    def with_files(self, offsets: Sequence[int]) -> Self:
        """Returns a block of some of the files only."""
        members = tuple(self.members[offset] for offset in offsets)
        ids = tuple(self.ids[offset] for offset in offsets) if self.ids else ()
        return replace(self, members=members, ids=ids, count=len(members))


@dataclass(frozen=True)
class BlockCell:
    """One cell of a block.

    Attributes:
        cell_id: Its name within the source, the same on every machine and in every run.
        source: Where the image lies, for people to find it.
        content: The bytes of its image file; empty if they cannot be had, or the file is to be opened by its path.
        error: Why there is no image, in a sentence; ``None`` if there is one.
        path: The file, where it lies on disk and was not read.
    """

    cell_id: str
    source: str
    content: bytes = field(default=b"", repr=False)
    error: str | None = None
    path: Path | None = None

    @property
    def image(self) -> Any:
        """The image, as `bc_sam.data.images.read_image` takes it."""
        return {"bytes": self.content, "path": self.source} if self.path is None else self.path
