"""Features on disk: shards that processes write side by side, each found by the pixels and the encoder it is of."""

import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from bc_sam.errors import BCSamError

logger = logging.getLogger(__name__)

#: Cells in a shard: 100 MB of features of SAM ViT-B at 224 px, and what a killed process may lose.
SHARD_CELLS = 256

_DIGESTS = "digests"
_ENCODER, _CHECKSUM = "encoder", "crc32"


class FeatureStore:
    """The features that one encoder gives of some cells.

    Args:
        folder: Holds the shards.
        digests: (n,) uint64, `bc_sam.data.store.CellTable.digests` of the cells.
        encoder: Fingerprint of the encoder; shards of another one are passed over. ``None`` for whichever one has
            left its shards there last.

    Attributes:
        key: Changes with the encoder and with the cells.
        maps: (n, C, h, w) float16, the encoder's last hidden state before the neck.
        masks: (n, S, S) bool, predicted.
        targets: (n, 128, 128, 3) uint8, the predicted cell on grey.

    Raises:
        BCSamError: If the features of a cell are not there.
    """

    def __init__(self, folder: Path, digests: np.ndarray, encoder: str | None = None) -> None:
        self.key = f"{encoder} {zlib.crc32(digests.tobytes()):08x}"
        paths, shards, rows = _locate(folder, digests, encoder)
        if (rows < 0).any():
            raise BCSamError(
                f"{folder} lacks the features of {(rows < 0).sum()} cells. Give the training command again: it "
                "computes what is missing."
            )
        self.maps, self.masks, self.targets = (
            ShardedArray(paths, shards, rows, name) for name in ("maps", "masks", "targets")
        )


class ShardedArray:
    """An array (n, ...) whose rows lie in shards. As of a NumPy array, an index gives a row or several, copied.

    No shard stays mapped into memory, so what is in use does not grow with what has been read.

    Args:
        paths: The shards.
        shards: (n,) the shard that holds each row.
        rows: (n,) its place there.
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
        chosen = np.arange(len(self))[index]
        first = self[0]
        found = np.empty((len(chosen), *first.shape), first.dtype)
        shards = self.shards[chosen]
        for shard in np.unique(shards):
            with safe_open(self.paths[shard], "np") as file:
                tensor = file.get_slice(self.name)
                for place in np.flatnonzero(shards == shard):
                    found[place] = tensor[int(self.rows[chosen[place]])]
        return found


def missing_cells(folder: Path, digests: np.ndarray, encoder: str) -> np.ndarray:
    """Returns the cells whose features are not in a folder, as indices into `digests`; of copies only the first."""
    _, _, rows = _locate(folder, digests, encoder)
    first = np.unique(digests, return_index=True)[1]
    return np.sort(first[rows[first] < 0])


def write_shard(folder: Path, encoder: str, digests: np.ndarray, features: Mapping[str, np.ndarray]) -> None:
    """Writes the features of some cells; the file appears whole or not at all.

    Args:
        folder: Where to; made if missing.
        encoder: Fingerprint of the encoder.
        digests: (n,) uint64 of the cells, at most `SHARD_CELLS`.
        features: The tensors of `FeatureStore`, (n, ...) each.

    Raises:
        BCSamError: If the disk has no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # safetensors writes the bytes as they lie, whatever order an array says that they have.
    tensors = {name: np.ascontiguousarray(values) for name, values in {_DIGESTS: digests, **features}.items()}
    path = folder / f"{encoder[:8]}-{zlib.crc32(digests.tobytes()):08x}.safetensors"
    part = path.with_suffix(".part")
    try:
        save_file(tensors, part, {_ENCODER: encoder, _CHECKSUM: _checksum(tensors)})
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free / 2**30
        raise BCSamError(
            f"The features cannot be written to {folder}, which has {free:.1f} GiB free ({error}). Free some room, or "
            "choose another folder; what is finished is kept."
        ) from error


def remove_unfit_shards(folder: Path, encoder: str) -> None:
    """Removes the shards of other encoders, which nothing will ask for again, and those that are damaged."""
    for part in folder.glob("*.part"):
        part.unlink()
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "np") as file:
                said = file.metadata() or {}
            stale, whole = said.get(_ENCODER) != encoder, _checksum(load_file(path)) == said.get(_CHECKSUM)
        except (OSError, SafetensorError):
            stale, whole = False, False
        if not whole and not stale:
            logger.warning("%s is damaged; its features are computed again.", path)
        if stale or not whole:
            path.unlink()


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data, value)
    return f"{value:08x}"


def _locate(folder: Path, digests: np.ndarray, encoder: str | None) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """The shards of an encoder, and for each cell its shard and its place there, -1 where there is none."""
    paths: list[Path] = []
    shards, rows, known = [], [], []
    for path, own in _shards(folder, encoder):
        shards.append(np.full(len(own), len(paths)))
        rows.append(np.arange(len(own)))
        known.append(own)
        paths.append(path)
    if not paths:
        return [], np.full(len(digests), -1), np.full(len(digests), -1)
    order = np.argsort(np.concatenate(known))
    ascending = np.concatenate(known)[order]
    place = np.minimum(np.searchsorted(ascending, digests), len(ascending) - 1)
    there = ascending[place] == digests
    shard, row = (np.concatenate(parts)[order][place] for parts in (shards, rows))
    return paths, np.where(there, shard, -1), np.where(there, row, -1)


def _shards(folder: Path, encoder: str | None) -> Iterator[tuple[Path, np.ndarray]]:
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as file:
            if encoder in (None, (file.metadata() or {}).get(_ENCODER)):
                yield path, file.get_tensor(_DIGESTS)
