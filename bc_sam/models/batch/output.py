"""The folder of results: a Parquet file for each block and table, and a manifest that says what they are.

A file is written aside, flushed to the disk and renamed, so that it is there in full or not at all. All files whose
names begin with ``_`` or ``.`` are passed over by what reads Parquet.
"""

import logging
import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from bc_sam.errors import BCSamError, ConfigError
from bc_sam.models.batch.rows import BLOCK, JOB, Counts, FinishedBlock, counts_of_file, table_names
from bc_sam.models.batch.settings import Job
from bc_sam.utils.atomic import written_aside
from bc_sam.utils.folder_lock import FolderLock
from bc_sam.utils.json_config import JsonConfig

logger = logging.getLogger(__name__)

#: Name of the manifest in the folder of results.
MANIFEST = "_manifest.json"

_OTHER_FOLDER = "Give another --out, or remove this folder to start again."

# Version of the manifest that this version writes and reads.
_FORMAT = 1

_PART = "part-"


@dataclass(frozen=True)
class Manifest(JsonConfig):
    """What a folder of results holds.

    Attributes:
        job: All that the rows depend on.
        sources: The sources, as given.
        n_files: Number of files in them that hold cells or fields.
        n_blocks: Number of blocks of the job.
        n_images: Number of cells, or of fields; ``None`` as long as it is not known.
        other_files: Number of files in the sources that hold none, by suffix.
        versions: Version of each library that began the job.
        state: Whether all blocks are there.
        counts: What they hold; filled when the job is complete.
        engine: What ran last: its name, number of workers, and the address of its dashboard, if any.
        started: When the engine started last, seconds since the epoch.
        format: Version of this file.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = {"n_cells": "n_images"}

    job: Job
    sources: tuple[str, ...]
    n_files: int
    n_blocks: int
    n_images: int | None
    other_files: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    state: Literal["running", "complete"] = "running"
    counts: Counts = field(default_factory=Counts)
    engine: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    format: int = _FORMAT

    def __post_init__(self) -> None:
        if self.format > _FORMAT:
            raise ConfigError(
                "The results were written by a newer version of bc_sam. Update bc_sam to go on with them."
            )
        if self.n_blocks < 0:
            raise ConfigError(f"n_blocks must be at least 0, but is {self.n_blocks}.")


class OutputFolder:
    """The results of a job. Only one process at a time may hold it.

    Args:
        folder: The folder; created if it does not exist.

    Raises:
        BCSamError: If another job writes to it.
        ConfigError: If it holds something else.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--out {folder} is a file. Name a folder for the results.")
        if folder.is_dir() and not (folder / MANIFEST).exists():
            strange = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
            if any(name.startswith(_PART) for name in strange):
                raise ConfigError(f"--out {folder} holds results without their {MANIFEST}. {_OTHER_FOLDER}")
            if strange:
                raise ConfigError(f"--out {folder} holds other files, such as {strange[0]}. Name a new folder.")
        self.folder = folder
        self._lock = FolderLock(
            folder, remedy="Wait until it has finished (bc-sam status DIR), or name another --out."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of the job that began here; ``None`` if no block of it was finished.

        Raises:
            ConfigError: If it is damaged, so that nobody knows what the results are of.
        """
        if not any(self.folder.glob(f"**/{_PART}*")):
            return None
        try:
            return read_manifest(self.folder)
        except ConfigError as error:
            raise ConfigError(f"{error} {_OTHER_FOLDER}") from error

    def begin(self, manifest: Manifest) -> Manifest:
        """Begins a job, or continues it if the folder holds a part of the same one.

        Returns:
            The manifest, with the versions with which the job began.

        Raises:
            ConfigError: If the folder holds another job, or the source or model has changed since it began.
        """
        if (begun := self.manifest) is not None:
            _require_same(begun, manifest, self.folder)
            manifest = begun
        self._save(manifest)
        return manifest

    def note_engine(self, manifest: Manifest, engine: Mapping[str, Any]) -> Manifest:
        """Notes what computes the job, for ``bc-sam status``."""
        manifest = replace(manifest, engine=dict(engine), state="running", started=time.time())
        self._save(manifest)
        return manifest

    def finish(self, manifest: Manifest, finished: Mapping[int, Counts]) -> Manifest:
        """Notes that all blocks are there, and what they hold.

        Raises:
            BCSamError: If one is not, such as one that a process on another machine wrote elsewhere.
        """
        if missing := sorted(set(range(manifest.n_blocks)) - set(finished)):
            raise BCSamError(
                f"{len(missing)} of {manifest.n_blocks} blocks are missing, such as number {missing[0]}. Run the same "
                "command again, with an --out that all processes see."
            )
        counts = total_of(finished.values())
        manifest = replace(manifest, state="complete", counts=counts, n_images=counts.images)
        self._save(manifest)
        return manifest

    def _save(self, manifest: Manifest) -> None:
        manifest.save(self.folder / MANIFEST)
        _sync_names(self.folder)


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a folder of results.

    Raises:
        ConfigError: If there is none.
    """
    if not (folder / MANIFEST).exists():
        raise ConfigError(f"{folder} has no {MANIFEST}, so it holds no results of --engine. Name the folder of --out.")
    return Manifest.load(folder / MANIFEST)


def total_of(counts: Iterable[Counts]) -> Counts:
    """Returns the sum of counts."""
    return sum(counts, Counts())


def write_block(folder: Path, block: FinishedBlock, n_blocks: int) -> Counts:
    """Writes the files of a block, each of them in full or not at all, so that they survive a power failure.

    A block is finished when all of them are there. One that is not is computed again, to the same bytes.
    """
    for table, content in block.contents.items():
        place = folder / table
        place.mkdir(exist_ok=True)
        with written_aside(place / part_name(block.index, n_blocks)) as part:
            part.write_bytes(content)
        _sync_names(place)
    return block.counts


def part_name(index: int, n_blocks: int) -> str:
    """Returns the name of the file of a block.

    Example:
        >>> part_name(3, 40)
        'part-0000003-of-0000040.parquet'
    """
    return f"{_PART}{index:07d}-of-{n_blocks:07d}.parquet"


def _index_of_part(name: str) -> int | None:
    """Returns the number of the block of which a file is.

    Example:
        >>> _index_of_part("part-0000003-of-0000040.parquet"), _index_of_part("part-3")
        (3, None)
    """
    found = re.fullmatch(rf"{_PART}(\d{{7,}})-of-\d{{7,}}\.parquet", name, re.ASCII)
    return int(found[1]) if found else None


def read_finished(folder: Path, manifest: Manifest) -> dict[int, Counts]:
    """Returns the finished blocks in a folder by number, and what they hold; damaged files are not finished."""
    job, n_blocks = manifest.job, manifest.n_blocks
    tables = [_read_table(folder, name, job.digest, n_blocks) for name in table_names(job.settings.task)]
    return {
        index: replace(total_of(table[index] for table in tables), blocks=1)
        for index in tables[0]
        if all(index in table for table in tables)
    }


def _read_table(out: Path, table: str, job: str, n_blocks: int) -> dict[int, Counts]:
    """Returns what the files of a table hold, by block, of those that are intact and of this job."""
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    found: dict[int, Counts] = {}
    folder = out / table
    for name in sorted(path.name for path in folder.glob(f"{_PART}*")):
        index = _index_of_part(name)
        if index is None or name != part_name(index, n_blocks):
            continue
        if (folder / name).exists() and not (folder / name).is_file():  # reading a pipe would wait for ever
            raise ConfigError(f"{folder / name} is no file. Remove it, then run the command again.")
        try:
            read = read_metadata(folder / name)
        except (ArrowException, OSError) as error:
            logger.warning("%s is damaged (%s) and is computed again.", folder / name, error)
            continue
        facts: Mapping[bytes, bytes] = read.metadata or {}
        if facts.get(JOB) == job.encode() and facts.get(BLOCK) == str(index).encode():
            found[index] = counts_of_file(table, read.num_rows, facts)
        else:
            logger.warning("%s is of another job and is computed again.", folder / name)
    return found


def _require_same(begun: Manifest, asked: Manifest, folder: Path) -> None:
    """Checks that a job is the one with which a folder was begun."""
    old, new = begun.job, asked.job
    if old.model.digest != new.model.digest:
        raise ConfigError(
            f"{folder} was begun with another model: {old.model.source} ({old.model.digest[:12]}), not "
            f"{new.model.source} ({new.model.digest[:12]}). {_OTHER_FOLDER}"
        )
    before, after = old.settings.to_dict(), new.settings.to_dict()
    changed = [name for name in before if before[name] != after[name] and name not in ("model", "revision")]
    if changed:
        differences = ", ".join(f"{name} {before[name]} (now {after[name]})" for name in changed)
        raise ConfigError(f"{folder} was begun with other settings: {differences}. {_OTHER_FOLDER}")
    if old.source == new.source and begun.n_blocks != asked.n_blocks:
        raise ConfigError(
            f"{folder / MANIFEST} says {begun.n_blocks} blocks, but the job has {asked.n_blocks}: it was changed. "
            f"{_OTHER_FOLDER}"
        )
    if old.source != new.source:
        raise ConfigError(
            f"The source has changed since {folder} was begun: {begun.n_files} files then, {asked.n_files} now, or "
            f"other sizes or times. Results of both would be mixed. {_OTHER_FOLDER}"
        )


def _sync_names(folder: Path) -> None:
    """Flushes the names of the files in a folder to the disk; Windows cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
