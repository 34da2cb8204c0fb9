"""Features on disk: shards written in parallel by several processes, looked up by pixel digest and encoder."""

import logging
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from bc_sam.errors import BCSamError
from bc_sam.utils.atomic import WRITE_ERRORS, written_aside

logger = logging.getLogger(__name__)

#: Cells per shard: 100 MB of SAM ViT-B features at 224 px, and the most that a killed process can lose.
SHARD_CELLS = 256

_DIGESTS = "digests"
# The first entry holds the encoder and the checksum, as safetensors writes several in random order. Shards of earlier
# versions have an entry for each.
_ENCODER, _CHECKSUM = "encoder", "crc32"


class FeatureStore:
    """The features of a set of cells, computed by one encoder.

    Args:
        folder: Folder of the shards.
        digests: (n,) uint64, `bc_sam.data.store.CellTable.digests` of the cells.
        encoder: Fingerprint of the encoder; shards of other encoders are ignored. ``None`` accepts the shards of any
            encoder.

    Attributes:
        key: Identifies the encoder and the cells.
        maps: (n, C, h, w) float16, the encoder's last hidden state before the neck.
        masks: (n, S, S) bool, predicted.
        targets: (n, 128, 128, 3) uint8, the predicted cell on grey.

    Raises:
        BCSamError: If the features of a cell are missing.
    """

    def __init__(self, folder: Path, digests: np.ndarray, encoder: str | None = None) -> None:
        self.key = f"{encoder} {zlib.crc32(digests.tobytes()):08x}"
        paths, shards, rows = _locate(folder, digests, encoder)
        if (rows < 0).any():
            raise BCSamError(
                f"{folder} lacks the features of {(rows < 0).sum()} cells. Run the training command again to compute "
                "them."
            )
        self.maps, self.masks, self.targets = (
            ShardedArray(paths, shards, rows, name) for name in ("maps", "masks", "targets")
        )


class ShardedArray:
    """An array (n, ...) stored in shards. Indexing works as in NumPy along the first axis and returns a copy.

    No shard stays memory-mapped, so memory use does not grow with the rows read.

    Args:
        paths: The shards.
        shards: (n,) index of the shard that holds each row.
        rows: (n,) index of the row within its shard.
        name: Name of the tensor in the shards.
    """

    def __init__(self, paths: list[Path], shards: np.ndarray, rows: np.ndarray, name: str) -> None:
        self.paths = paths
        self.shards = shards
        self.rows = rows
        self.name = name

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, int | np.integer):
            with safe_open(self.paths[self.shards[index]], "np") as file:
                return file.get_slice(self.name)[int(self.rows[index])]
        selected = np.arange(len(self))[index]
        first = self[0]
        values = np.empty((len(selected), *first.shape), first.dtype)
        shards = self.shards[selected]
        for shard in np.unique(shards):
            with safe_open(self.paths[shard], "np") as file:
                tensor = file.get_slice(self.name)
                for position in np.flatnonzero(shards == shard):
                    values[position] = tensor[int(self.rows[selected[position]])]
        return values


def missing_cells(folder: Path, digests: np.ndarray, encoder: str) -> np.ndarray:
    """Returns the indices into `digests` of cells without stored features; of duplicates only the first."""
    _, _, rows = _locate(folder, digests, encoder)
    first = np.unique(digests, return_index=True)[1]
    return np.sort(first[rows[first] < 0])


def write_shard(folder: Path, encoder: str, digests: np.ndarray, features: Mapping[str, np.ndarray]) -> None:
    """Writes the features of a batch of cells atomically.

    Args:
        folder: Output folder; created if missing.
        encoder: Fingerprint of the encoder.
        digests: (n,) uint64 of the cells, at most `SHARD_CELLS`.
        features: The tensors of `FeatureStore`, (n, ...) each.

    Raises:
        BCSamError: If the disk is full or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # safetensors writes an array's raw buffer and ignores its strides.
    tensors = {name: np.ascontiguousarray(values) for name, values in {_DIGESTS: digests, **features}.items()}
    path = folder / f"{encoder[:8]}-{zlib.crc32(digests.tobytes()):08x}.safetensors"
    try:
        with written_aside(path) as part:
            save_file(tensors, part, {_ENCODER: f"{encoder} {_checksum(tensors)}"})
    except WRITE_ERRORS as error:
        free = shutil.disk_usage(folder).free / 2**30
        raise BCSamError(
            f"Cannot write features to {folder}, which has {free:.1f} GiB free ({error}). Free disk space or choose "
            "another folder; finished shards are kept."
        ) from error


def remove_unfit_shards(folder: Path, encoder: str) -> None:
    """Removes damaged shards, unfinished files, and the shards of other encoders, which are no longer needed."""
    for part in folder.glob("*.part"):
        part.unlink()
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "np") as file:
                made_by, checksum = _encoder_and_checksum(file)
            stale, intact = made_by != encoder, _checksum(load_file(path)) == checksum
        except (OSError, SafetensorError):
            stale, intact = False, False
        if not intact and not stale:
            logger.warning("%s is damaged; its features will be recomputed.", path)
        if stale or not intact:
            path.unlink()


def _encoder_and_checksum(file: Any) -> tuple[str, str]:
    """Returns what an open shard states; empty if it states nothing."""
    metadata = file.metadata() or {}
    encoder, _, checksum = metadata.get(_ENCODER, "").partition(" ")
    return encoder, checksum or metadata.get(_CHECKSUM, "")


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data, value)
    return f"{value:08x}"


def _locate(folder: Path, digests: np.ndarray, encoder: str | None) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Returns an encoder's shards, and for each cell the indices of its shard and of its row there, -1 if missing."""
    paths: list[Path] = []
    shards, rows, stored = [], [], []
    for path, shard_digests in _shards(folder, encoder):
        shards.append(np.full(len(shard_digests), len(paths)))
        rows.append(np.arange(len(shard_digests)))
        stored.append(shard_digests)
        paths.append(path)
    if not paths:
        return [], np.full(len(digests), -1), np.full(len(digests), -1)
    order = np.argsort(np.concatenate(stored))
    ascending = np.concatenate(stored)[order]
    index = np.minimum(np.searchsorted(ascending, digests), len(ascending) - 1)
    found = ascending[index] == digests
    shard, row = (np.concatenate(parts)[order][index] for parts in (shards, rows))
    return paths, np.where(found, shard, -1), np.where(found, row, -1)


def _shards(folder: Path, encoder: str | None) -> Iterator[tuple[Path, np.ndarray]]:
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as file:
            if encoder in (None, _encoder_and_checksum(file)[0]):
                yield path, file.get_tensor(_DIGESTS)
