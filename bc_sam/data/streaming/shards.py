"""Data sets that lie in several files, parquet or tars of WebDataset, each of which `datasets` streams by itself."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from datasets import DatasetBuilder, Features, IterableDataset, load_dataset_builder
from huggingface_hub import HfApi

from bc_sam.data.blocks.block import Block
from bc_sam.data.blocks.plan import Plan, is_of_split, sample_cells
from bc_sam.data.blocks.stores import StoredFile, list_files, store_errors_explained
from bc_sam.data.blocks.tables import plan_table
from bc_sam.data.blocks.tars import TAR_SUFFIXES, plan_tar
from bc_sam.errors import DataError
from bc_sam.utils.hub import with_retries

logger = logging.getLogger(__name__)

_PARQUET = ".parquet"

# A shard is one block when a sample is drawn from it.
_WHOLE = 2**62


@dataclass(frozen=True)
class Shard:
    """One file of a data set.

    Attributes:
        file: The file, with what changes with its content: a hash of the Hub or store, or a time on disk.
        rows: Its rows, streamed.
    """

    file: StoredFile
    rows: IterableDataset = field(repr=False)

    @property
    def identity(self) -> str:
        """What tells this shard from any other: its name, its size, and what changes with its content."""
        return f"{self.file.name} {self.file.size} {self.file.stamp or self.file.url}"


@dataclass(frozen=True)
class ShardedCells:
    """The shards of a data set, in order.

    Attributes:
        shards: At least one shard.
        homepage: Where the data set comes from, if it says so.
    """

    shards: tuple[Shard, ...]
    homepage: str = ""

    @property
    def features(self) -> Features:
        """The columns of all shards."""
        return self.shards[0].rows.features

    def sample(self, image_column: str) -> list[Any]:
        """Reads a sample of images for the profile of a laboratory, without reading all shards.

        They are spread evenly over the rows of parquet and of tars on disk; of tars elsewhere, whose number of images
        is not known, they are the first ones of evenly spaced shards.

        Args:
            image_column: Column of the images.

        Returns:
            The images, as `bc_sam.data.images.read_image` takes them.
        """
        blocks: list[Block] = []
        for shard in self.shards:
            with store_errors_explained(shard.file.url):
                if shard.file.name.lower().endswith(_PARQUET):
                    blocks += plan_table(shard.file, _WHOLE, {"image": image_column})
                else:
                    blocks += plan_tar(shard.file, _WHOLE)
        numbered = tuple(replace(block, index=index) for index, block in enumerate(blocks))
        if not numbered:
            return []
        return [cell.image for cell in sample_cells(Plan(numbered, "", len(blocks))) if cell.error is None]


def is_shard(name: str) -> bool:
    """Whether a file is one that is streamed, by its name.

    Example:
        >>> is_shard("data/train-00000-of-00002.parquet"), is_shard("cells-000.tar"), is_shard("cells.zip")
        (True, True, False)
    """
    return name.lower().endswith(_PARQUET) or is_tar(name)


def is_tar(name: str) -> bool:
    """Whether a file is a tar, compressed or not, by its name."""
    return name.lower().endswith(TAR_SUFFIXES)


def kind_of_shards(files: Sequence[StoredFile]) -> str:
    """Returns the name under which `datasets` reads files.

    Raises:
        DataError: If there are both parquet files and tars.
    """
    kinds = {"parquet" if file.name.lower().endswith(_PARQUET) else "webdataset" for file in files}
    if len(kinds) > 1:
        raise DataError(f"{files[0].root} has both parquet files and tars. Give the folder or file of one kind.")
    return kinds.pop()


def open_files(files: Sequence[StoredFile]) -> ShardedCells:
    """Opens files of one kind, on disk or in a store.

    Args:
        files: Parquet files, or tars of WebDataset.

    Raises:
        DataError: If both kinds occur, or the first file cannot be read.
    """
    with store_errors_explained(files[0].url):
        builder = load_dataset_builder(kind_of_shards(files), data_files={"train": [file.url for file in files]})
        return ShardedCells(tuple(_shards(builder, "train", files)))


def open_repository(
    repo_id: str, *, config: str | None = None, split: str | None = None, revision: str | None = None
) -> ShardedCells | None:
    """Opens a data set of the Hub at the commit of the moment.

    Args:
        repo_id: Hub id.
        config: Config of the data set.
        split: The only split; ``None`` joins all, which is logged.
        revision: Branch, tag or commit.

    Returns:
        The data set; ``None`` if it consists of files of other kinds.

    Raises:
        DataError: If there is no such split.
    """
    commit = with_retries(lambda: HfApi().dataset_info(repo_id, revision=revision)).sha
    named = {} if config is None else {"name": config}
    builder = load_dataset_builder(repo_id, revision=commit, **named)
    files_of = builder.config.data_files or {}
    if not files_of or not all(is_shard(url) for urls in files_of.values() for url in urls):
        return None
    if split is not None and split not in files_of:
        raise DataError(f"{repo_id} has no split {split!r}, but {', '.join(files_of)}. Correct or omit --split.")
    chosen = list(files_of) if split is None else [split]
    if len(chosen) > 1:
        logger.warning("%s: the splits %s are joined. Choose one with --split.", repo_id, ", ".join(chosen))
    listed = {file.url: file for file in list_files(f"hf://datasets/{repo_id}@{commit}")}
    shards: list[Shard] = []
    for name in chosen:
        files = [listed.get(url) or StoredFile(url, PurePosixPath(url).name, -1, "") for url in files_of[name]]
        shards += _shards(builder, name, files)
    return ShardedCells(tuple(shards), builder.info.homepage or "")


def list_shards(source: str, split: str | None = None) -> list[StoredFile]:
    """Lists the files of a folder or store that can be streamed, or the one that is given.

    Args:
        source: Path or address, such as ``s3://bucket/cells`` or ``hf://datasets/owner/name/folder``.
        split: Only files in a folder of this name, or whose name begins with it.

    Raises:
        DataError: If there is none, or the source cannot be listed.
    """
    files = [file for file in list_files(source) if is_shard(file.name)]
    if not files:
        raise DataError(f"{source} has no parquet file and no tar. Copy images to a disk, and give their folder.")
    if split is not None:
        files = [file for file in files if is_of_split(file.name, split)]
        if not files:
            raise DataError(f"{source} has no split {split!r}: no folder and no file has its name. Omit --split.")
    return files


def _shards(builder: DatasetBuilder, split: str, files: Sequence[StoredFile]) -> list[Shard]:
    rows = builder.as_streaming_dataset(split=split)
    if rows.num_shards != len(files):
        raise DataError(f"{files[0].root} has {len(files)} files, but {rows.num_shards} shards. Give single files.")
    return [Shard(file, rows.shard(num_shards=len(files), index=index)) for index, file in enumerate(files)]
