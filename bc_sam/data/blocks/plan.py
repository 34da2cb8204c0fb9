"""Divides sources into blocks, in the same way whenever it is asked, and notes what they consist of."""

import hashlib
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby, islice
from pathlib import Path, PurePosixPath

from bc_sam.data.blocks.block import Block, BlockCell
from bc_sam.data.blocks.file_tables import is_file_table, list_table
from bc_sam.data.blocks.hub_source import hub_url
from bc_sam.data.blocks.reading import Reader, read_block
from bc_sam.data.blocks.stores import StoredFile, is_url, list_files
from bc_sam.data.blocks.tables import plan_table
from bc_sam.data.blocks.tars import TAR_SUFFIXES, plan_tar
from bc_sam.data.blocks.zips import plan_zip
from bc_sam.data.fields.sources import SLIDE_SUFFIXES
from bc_sam.data.file_search import is_image_name
from bc_sam.data.preparation import PROFILE_SAMPLE, sample_evenly
from bc_sam.errors import DataError
from bc_sam.utils.display import as_utf8
from bc_sam.utils.hub_id import reads_as_hub_id

#: Cells of a block: about half a minute of work on one core, and some 0.3 MB of results; see docs/scale.md.
BLOCK_SIZE = 1000


@dataclass(frozen=True)
class Plan:
    """The blocks of one or more sources.

    Attributes:
        blocks: The blocks, in order.
        fingerprint: Hash of the names, sizes and times of all files and of how they are divided.
        n_files: Number of files that hold cells.
        other_files: Number of files that do not, by suffix.
    """

    blocks: tuple[Block, ...]
    fingerprint: str
    n_files: int
    other_files: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_cells(self) -> int | None:
        """Number of cells; ``None`` if there are tars that have to be read for it."""
        counts = [block.count for block in self.blocks]
        return None if None in counts else sum(filter(None, counts))


def plan_blocks(
    sources: Sequence[str],
    *,
    block_size: int = BLOCK_SIZE,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    slides: bool = False,
) -> Plan:
    """Finds the cells of sources and divides them into blocks.

    The ids of cells are their names relative to the source, or those of a table, preceded by the source itself if
    there are several.

    Args:
        sources: Folders, image files, tables that name such files (CSV, TSV, JSON lines), zips, tars, parquet files,
            ids of data sets on the Hub, or addresses of stores such as ``s3://bucket/cells``.
        block_size: Most cells of a block.
        split: Only what lies in a folder of this name, or whose name begins with it, as ``train-00000.parquet``.
        columns: Columns of ``image`` and ``file`` in parquet files and tables, by default found by name; and of the
            ids, ``id``, in tables, by default none.
        slides: Whether scanned slides are images, too.

    Raises:
        DataError: If a source does not exist, cannot be read, or holds no cell, or a column is given for none.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("a.png", "b.png", "c.png"):
        ...     _ = (folder / name).write_bytes(b"")
        >>> plan = plan_blocks([str(folder)], block_size=2)
        >>> [block.members for block in plan.blocks], plan.n_cells
        ([('a.png', 'b.png'), ('c.png',)], 3)
    """
    digest = hashlib.sha256(f"{block_size} {split} {sorted((columns or {}).items())}".encode())
    files: list[tuple[str, StoredFile]] = []
    others = Counter[str]()
    for source in sources:
        chosen, passed_over = _files_of(source, split, slides, columns or {})
        label = _label(source, chosen) if len(sources) > 1 else ""
        files += [(label, file) for file in chosen]
        others += passed_over
    for label, file in files:
        facts = f"{label}{file.name}\0{file.size}\0{file.stamp}" + (f"\0{file.cell_id}" if file.cell_id else "")
        digest.update(f"{facts}\n".encode("utf-8", "surrogateescape"))
    blocks = _blocks_of(files, block_size, columns or {}, slides)
    numbered = tuple(replace(block, index=index) for index, block in enumerate(blocks))
    if not numbered:
        raise DataError(f"{', '.join(sources)}: the archives and tables hold no image. Give a source with cells.")
    _require_effect(columns or {}, numbered, any(map(is_file_table, sources)))
    return Plan(numbered, digest.hexdigest(), len(files), others)


def sample_cells(plan: Plan, most: int = PROFILE_SAMPLE, read: Reader = read_block) -> list[BlockCell]:
    """Reads evenly spaced cells, which are those that ``bc-sam predict`` without an engine measures.

    Of blocks whose number of cells is not known, the first cells are read.

    Args:
        plan: The plan.
        most: Most cells.
        read: Reads a block.
    """
    counts = [block.count for block in plan.blocks]
    if None in counts:
        chosen = [plan.blocks[index] for index in sample_evenly(len(plan.blocks), most)]
        each = -(-most // len(chosen))
        return [cell for block in chosen for cell in islice(read(_shortened(block, each)), each)][:most]
    ends = list(accumulate(filter(None, counts)))
    wanted: dict[int, list[int]] = {}
    for position in sample_evenly(ends[-1], most):
        index = bisect_right(ends, position)
        wanted.setdefault(index, []).append(position - (ends[index - 1] if index else 0))
    return [cell for index, offsets in wanted.items() for cell in _read_at(plan.blocks[index], offsets, read)]


def _read_at(block: Block, offsets: Sequence[int], read: Reader) -> Iterator[BlockCell]:
    """Reads single cells of a block."""
    if block.kind == "files":
        yield from read(block.with_files(offsets))
    elif block.kind == "tar":
        wanted = set(offsets)
        cells = islice(read(block), max(offsets) + 1)
        yield from (cell for offset, cell in enumerate(cells) if offset in wanted)
    else:
        for offset in offsets:
            yield from read(replace(block, start=block.start + offset, count=1))


def _shortened(block: Block, count: int) -> Block:
    """Returns a block with the first cells of another, so that no more of it is read ahead."""
    if block.kind == "files":
        return block.with_files(range(min(count, len(block.members))))
    return replace(block, count=count if block.count is None else min(count, block.count))


def _files_of(
    source: str, split: str | None, slides: bool, columns: Mapping[str, str]
) -> tuple[list[StoredFile], Counter[str]]:
    """Returns the files of a source that hold cells, and how many do not, by suffix."""
    if not source:
        raise DataError("An empty path was given as a source of cells. Give a folder, or . for this one.")
    if not is_url(source) and not Path(source).exists() and reads_as_hub_id(source):
        source = hub_url(source)
    files = list_table(Path(source), columns) if is_file_table(source) else list_files(source)
    fitting = [file for file in files if _kind(file.name, slides)]
    if not fitting:
        raise DataError(f"No cells found in {source}. Give a source that holds images, zips, tars or parquet files.")
    others = _suffixes(files) - _suffixes(fitting)
    if split is not None:
        fitting = [file for file in fitting if is_of_split(file.name, split)]
        if not fitting:
            raise DataError(f"{source} has no split {split!r}: no folder and no file has its name. Omit --split.")
    return fitting, others


def _require_effect(columns: Mapping[str, str], blocks: Iterable[Block], has_file_table: bool) -> None:
    """Checks that there is a table for each column that is given."""
    has_parquet = any(block.kind == "parquet" for block in blocks)
    effective = {"image": has_parquet, "file": has_parquet or has_file_table, "id": has_file_table}
    for role in columns:
        if not effective.get(role, True):
            needed = {"image": "parquet", "id": "a CSV that names files"}.get(role, "a table")
            raise DataError(f"--column {role}= has no effect on this source. Give {needed}, or omit it.")


def _label(source: str, files: Sequence[StoredFile]) -> str:
    """Returns what precedes the names of a source among several: the source, or the folder of a single file."""
    name = files[0].name
    return source.removesuffix(name) if len(files) == 1 and source.endswith(name) else f"{source.rstrip('/')}/"


def _suffixes(files: Iterable[StoredFile]) -> Counter[str]:
    return Counter(PurePosixPath(file.name).suffix.lower() or "without suffix" for file in files)


def _blocks_of(
    files: Iterable[tuple[str, StoredFile]], size: int, columns: Mapping[str, str], slides: bool
) -> Iterator[Block]:
    """Yields the blocks, not numbered yet; image files of one folder that follow each other share blocks."""

    def together(entry: tuple[str, StoredFile]) -> tuple[str, str, bool]:
        label, file = entry
        return label, file.root, _kind(file.name, slides) == "files"

    for (label, root, are_images), entries in groupby(files, key=together):
        group = [file for _, file in entries]
        blocks = _plan_files(root, group, size) if are_images else _plan_containers(group, size, columns)
        yield from (replace(block, prefix=as_utf8(label + block.prefix)) for block in blocks)


def _plan_files(root: str, files: Sequence[StoredFile], size: int) -> Iterator[Block]:
    for start in range(0, len(files), size):
        chosen = files[start : start + size]
        members = tuple(file.name for file in chosen)
        ids = tuple(file.cell_id for file in chosen) if files[0].cell_id else ()
        yield Block(0, "files", root, count=len(members), members=members, ids=ids)


def _plan_containers(files: Iterable[StoredFile], size: int, columns: Mapping[str, str]) -> Iterator[Block]:
    for file in files:
        if _kind(file.name) == "parquet":
            yield from plan_table(file, size, columns)
        elif _kind(file.name) == "zip":
            yield from plan_zip(file, size)
        else:
            yield from plan_tar(file, size)


def _kind(name: str, slides: bool = False) -> str | None:
    lower = name.lower()
    if is_image_name(lower) or (slides and lower.endswith(tuple(SLIDE_SUFFIXES))):
        return "files"
    if lower.endswith(TAR_SUFFIXES):
        return "tar"
    return next((kind for kind in ("zip", "parquet") if lower.endswith(f".{kind}")), None)


def is_of_split(name: str, split: str) -> bool:
    """Whether a file is of a split: it lies in a folder of that name, or its name up to the number of a shard is that.

    Example:
        >>> is_of_split("data/train-00000-of-00002.parquet", "train"), is_of_split("test/1.png", "train")
        (True, False)
    """
    path = PurePosixPath(name)
    stem = re.sub(r"-\d+(-of-\d+)?$", "", path.name.partition(".")[0])
    return split.casefold() in [part.casefold() for part in (*path.parts[:-1], stem)]
