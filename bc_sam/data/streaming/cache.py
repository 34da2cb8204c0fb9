"""Decodes the shards of data sets, each once: what is decoded is kept under a name that follows from its content."""

import hashlib
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import pyarrow as pa
from datasets import Dataset, Features, Image, IterableDataset, Value, concatenate_datasets

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.blocks.stores import store_errors_explained
from bc_sam.data.cells import FEATURES
from bc_sam.data.columns import find_roles, is_plain
from bc_sam.data.preparation import Preparation
from bc_sam.data.store import CellStore, decode_cells, holds_cells, laboratory_profile
from bc_sam.data.streaming.decoded import DecodedShards
from bc_sam.data.streaming.shards import Shard, ShardedCells
from bc_sam.errors import DataError
from bc_sam.utils.atomic import folder_written_aside
from bc_sam.utils.json_config import JsonConfig

logger = logging.getLogger(__name__)

# Changes when earlier versions decoded otherwise.
_VERSION = 1

# Rows that are held in memory.
_CHUNK = 256

_INDEX, _ROWS, _SPOOL = "index.json", "rows.arrow", "spool.arrow"


@dataclass(frozen=True)
class _Index(JsonConfig):
    """What the folder of a laboratory holds, or will hold once it is decoded.

    Attributes:
        asked: The source and how it is read.
        settings: What decoding depends on beside the shards and the profile.
        identities: The shards.
        profile: Scale and stain of the laboratory.
        folders: The folder of each shard.
        roles: Columns of ``image``, ``mask`` and ``file``.
        homepage: Where the data set comes from.
    """

    asked: str
    settings: str
    identities: list[str]
    profile: AppearanceProfile | None
    folders: list[str]
    roles: dict[str, str]
    homepage: str = ""


class ShardCache:
    """The decoded shards of one or more laboratories.

    ::

        1f0a3c9e/                one folder a laboratory
            index.json           its shards and its profile
            5d41402abc4b2a76/    one folder a shard: pixels, masks, table, and the rows without images

    A folder of a shard is there in full or not at all, so that an interrupted decoding continues at the shard where it
    stopped. Its name follows from the content of the shard, the settings and the profile of the laboratory, so that
    it is used again if these are the same, and decoded again if not. What is no longer used is removed.

    Args:
        folder: Folder of the cache, which one process writes to at a time.
        image_size: Side of the stored squares, pixels.
        normalization: The normalization of scale and light; ``None`` stretches whole images to squares.
        microns_per_pixel: Known pixel size of the laboratories' images, µm, by name.

    Attributes:
        decoded: The laboratories that were decoded or opened, by name.
    """

    def __init__(
        self,
        folder: Path,
        image_size: int,
        normalization: NormalizationConfig | None = None,
        microns_per_pixel: Mapping[str, float] | None = None,
    ) -> None:
        self.folder = folder
        self.image_size = image_size
        self.normalization = normalization
        self.microns_per_pixel = dict(microns_per_pixel or {})
        self.decoded: dict[str, DecodedShards] = {}

    def decode(self, name: str, asked: str, shards: ShardedCells, columns: Mapping[str, str]) -> Dataset:
        """Decodes the shards that are not decoded yet.

        Args:
            name: Name of the laboratory.
            asked: The source and how it is read, as a text.
            shards: The shards.
            columns: Columns that the user names, by role.

        Returns:
            The rows of all readable cells, with their columns but for images, and a column ``file``; see
            `DecodedShards.rows`.

        Raises:
            DataError: If no image can be read, a shard cannot be read, or there is no column of images. What is
                decoded is kept.
        """
        roles = {
            role: column
            for role, column in find_roles(shards.features, name, columns).items()
            if role in ("image", "mask", "file")
        }
        index = self._index(name, asked, shards, roles)
        folder = self._folder_of(name)
        folder.mkdir(parents=True, exist_ok=True)
        index.save(folder / _INDEX)
        preparation = Preparation(self.image_size, self.normalization, index.profile)
        missing = [
            (shard, key)
            for shard, key in zip(shards.shards, index.folders, strict=True)
            if not holds_cells(folder / key, _table_key(key))
        ]
        n_shards = len(index.folders)
        logger.info("%s: %d of %d shards are decoded.", name, n_shards - len(missing), n_shards)
        for number, (shard, key) in enumerate(missing, n_shards - len(missing) + 1):
            with folder_written_aside(folder / key) as aside:
                _decode_shard(shard, name, roles, preparation, aside, _table_key(key))
            logger.info("%s: %d of %d shards are decoded, the last one %s.", name, number, n_shards, shard.file.name)
        for path in folder.iterdir():
            if path.is_dir() and path.name not in index.folders:
                shutil.rmtree(path)
        return self._open(name, index)

    def reopen(self, name: str, asked: str) -> Dataset | None:
        """Returns what `decode` returned for the same source, without reading it; ``None`` if it is not complete.

        Args:
            name: Name of the laboratory.
            asked: As for `decode`.
        """
        folder = self._folder_of(name)
        index = _Index.load_intact(folder / _INDEX)
        if index is None or index.asked != asked or index.settings != self._settings(name, index.roles):
            return None
        if not all(holds_cells(folder / key, _table_key(key)) for key in index.folders):
            return None
        return self._open(name, index)

    def _index(self, name: str, asked: str, shards: ShardedCells, roles: dict[str, str]) -> _Index:
        """Plans the folders, with the profile of the last time if the shards are the same."""
        settings, identities = self._settings(name, roles), [shard.identity for shard in shards.shards]
        last = _Index.load_intact(self._folder_of(name) / _INDEX)
        if last is not None and (last.settings, last.identities) == (settings, identities):
            return replace(last, asked=asked, homepage=shards.homepage)
        profile = None
        if self.normalization is not None:
            profile = laboratory_profile(shards.sample(roles["image"]), name, self.microns_per_pixel.get(name))
        keys = [_digest(settings, profile, identity) for identity in identities]
        return _Index(asked, settings, identities, profile, keys, roles, shards.homepage)

    def _settings(self, name: str, roles: Mapping[str, str]) -> str:
        known = self.microns_per_pixel.get(name)
        return repr((_VERSION, self.image_size, self.normalization, known, sorted(roles.items())))

    def _folder_of(self, name: str) -> Path:
        return self.folder / f"{crc32(name.encode()):08x}"

    def _open(self, name: str, index: _Index) -> Dataset:
        folders = [self._folder_of(name) / key for key in index.folders]
        stores = [CellStore.open(folder) for folder in folders]
        n_cells = sum(map(len, stores))
        if not n_cells:
            errors = [message for store in stores for message in store.table.unreadable]
            raise DataError(f"No image of {name!r} can be read. First error: {[*errors, 'there is no image'][0]}")
        rows = concatenate_datasets([Dataset.from_file(str(folder / _ROWS)) for folder in folders])
        numbers = [{"bytes": None, "path": str(number)} for number in range(n_cells)]
        rows = rows.add_column(index.roles["image"], numbers, feature=Image())
        if mask := index.roles.get("mask"):
            has_mask = [has for store in stores for has in store.table.has_mask]
            references = [{"bytes": None, "path": mask} if has else None for has in has_mask]
            rows = rows.add_column(mask, references, feature=Image())
        rows.info.homepage = index.homepage
        field_of_view = self.normalization.field_of_view if self.normalization else None
        self.decoded[name] = DecodedShards(stores, rows, index.profile, field_of_view)
        return rows


def _decode_shard(
    shard: Shard, name: str, roles: Mapping[str, str], preparation: Preparation, folder: Path, key: int
) -> None:
    """Streams a shard to the disk, decodes it into a folder, and keeps its rows without images."""
    spool = folder / _SPOOL
    with store_errors_explained(shard.file.url):
        rows = _spooled(shard.rows, roles, spool)
    places = [f"{shard.file.name}[{number}]" for number in range(len(rows))]
    table = decode_cells([_as_cells(rows, name, roles, places)], [name], folder, [preparation], key)
    table.save(folder / "table.json")
    numbers = {place: number for number, place in enumerate(places)}
    readable = rows.select([numbers[place] for place in table.files])
    kept = readable.remove_columns([roles[role] for role in ("image", "mask") if role in roles])
    if "file" not in rows.column_names:
        kept = kept.add_column("file", _file_names(readable, roles["image"], table.files), feature=Value("string"))
    _write(kept.with_format("arrow").iter(_CHUNK), kept.features, folder / _ROWS)
    spool.unlink()


def _spooled(rows: IterableDataset, roles: Mapping[str, str], path: Path) -> Dataset:
    """Copies images, masks and plain columns to the disk, a few rows at a time, as a shard may exceed the memory."""
    images = {roles[role] for role in ("image", "mask") if role in roles}
    used = Features({name: feature for name, feature in rows.features.items() if name in images or is_plain(feature)})
    # As Python objects, since tars of WebDataset cannot be iterated in the format "arrow" (datasets 5.2): the columns
    # of their last sample have another order.
    batches = rows.decode(False).select_columns(list(used)).iter(_CHUNK)
    _write((pa.Table.from_pydict(batch, used.arrow_schema) for batch in batches), used, path)
    return Dataset.from_file(str(path))


def _write(tables: Iterable[pa.Table], features: Features, path: Path) -> None:
    schema = features.arrow_schema
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for table in tables:
            writer.write_table(table.cast(schema))


def _as_cells(rows: Dataset, name: str, roles: Mapping[str, str], places: list[str]) -> Dataset:
    """Returns rows in the columns of `FEATURES`, with neither labels nor groups."""
    images = {role: roles[role] for role in ("image", "mask") if role in roles}
    cells = rows.select_columns(list(images.values())).rename_columns({old: new for new, old in images.items()})
    for role in images:
        if not isinstance(cells.features[role], Image):
            cells = cells.cast_column(role, Image())
    filled = {"domain": [name] * len(rows), "file": places}
    for column, feature in FEATURES.items():
        if column not in images:
            cells = cells.add_column(column, filled.get(column, [None] * len(rows)), feature=feature)
    return cells


def _file_names(rows: Dataset, image_column: str, places: Sequence[str]) -> list[str]:
    """Returns the name that each image has in its shard, or else its place there."""
    images = rows.select_columns([image_column]).with_format("arrow")
    names: list[str | None] = []
    for table in images.iter(_CHUNK):
        column = table[image_column].combine_chunks()
        has_path = pa.types.is_struct(column.type) and "path" in [field.name for field in column.type]
        names += column.field("path").to_pylist() if has_path else [None] * len(column)
    return [name or place for name, place in zip(names, places, strict=True)]


def _digest(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _table_key(folder: str) -> int:
    return crc32(folder.encode())
