"""On-disk store of decoded cells: every image is decoded and resized once for all stages."""

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from zlib import crc32

import numpy as np
from tqdm import tqdm

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.appearance.magnification import Scale
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.appearance.resolution_tags import read_resolution_tag
from bc_sam.data.decoding_budget import memory_for
from bc_sam.data.images import MAX_PIXELS, read_mask_and_values, read_pixels
from bc_sam.data.preparation import Preparation, profile_sources, require_pixel_size, sample_evenly
from bc_sam.data.splits import fingerprint
from bc_sam.errors import ConfigError, DataError, ImageError
from bc_sam.utils.json_config import JsonConfig
from bc_sam.utils.memmap import DiskArray, StoredArray, create_array

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

#: Pixel value that fills the mask of a cell without an annotated mask.
NO_MASK = 255

#: One value per channel: red, green, blue.
ChannelValues = tuple[float, float, float]

_CHUNK = 256
_MAX_VALUES = 16


@dataclass(frozen=True)
class CellTable(JsonConfig):
    """Metadata of the stored cells; lists have one entry per cell, except `domain_names` and `unreadable`.

    Attributes:
        key: Checksum of the images, their metadata and the stored size.
        domain_names: Names of the data sets.
        domains: Index into `domain_names`.
        labels: Class index, or -1 if unknown.
        groups: Slide or patient, or ``None`` if unknown.
        files: Path of the source file, relative to its data set, or the row in one that names no files.
        fingerprints: Fingerprint of the pixels, invariant to rotations and flips.
        digests: 64-bit hash of the stored pixels.
        has_mask: Whether there is an annotated mask.
        sizes: Height and width of the image before resizing, pixels.
        unreadable: Unreadable files, each with the reason.
        resolution_tags: Pixel size that the file states, µm, or ``None`` if it states none; empty in tables of earlier
            versions.
        profiles: Scale and stain of each data set; empty if the cells are not normalized.
        field_of_view: Side of the stored squares, µm; ``None`` if the cells are not normalized.
        mask_digests: 64-bit hash of each stored mask; empty in tables of earlier versions.
        mask_values: Values in the masks of each data set that are none of 0, 1 and 2, if there are any.
    """

    key: int
    domain_names: list[str]
    domains: list[int]
    labels: list[int]
    groups: list[str | None]
    files: list[str]
    fingerprints: list[str]
    digests: list[int]
    has_mask: list[bool]
    sizes: list[tuple[int, int]]
    unreadable: list[str]
    resolution_tags: list[float | None] = field(default_factory=list)
    profiles: list[AppearanceProfile] = field(default_factory=list)
    field_of_view: float | None = None
    mask_digests: list[int] = field(default_factory=list)
    mask_values: dict[str, list[float]] = field(default_factory=dict)


class CellStore:
    """Decoded and resized cells of one or more data sets, on disk.

    Attributes:
        table: Metadata of the cells.
        pixels: (n, S, S, 3) uint8, RGB, on disk.
        masks: (n, S, S) uint8, on disk: 0 background, 1 cytoplasm, 2 nucleus; all `NO_MASK` without an annotated mask.
        labels: (n,) int64, class index or -1 if unknown.
        domains: (n,) int64, index into ``table.domain_names``.
        digests: (n,) uint64, hash of each image's pixels.
        has_mask: (n,) bool.
    """

    def __init__(self, table: CellTable, pixels: StoredArray, masks: StoredArray) -> None:
        self.table = table
        self.pixels = pixels
        self.masks = masks
        self.digests = np.asarray(self.table.digests, dtype=np.uint64)
        self.labels = np.asarray(self.table.labels, dtype=np.int64)
        self.domains = np.asarray(self.table.domains, dtype=np.int64)
        self.has_mask = np.asarray(self.table.has_mask, dtype=bool)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Opens the store in a folder.

        Raises:
            ConfigError: If its table is of another version.
            OSError: If a file is missing.
            ValueError: If an array is damaged.
        """
        table = CellTable.load(folder / "table.json")
        n = len(table.files)
        return cls(table, DiskArray(folder / "pixels.npy", n), DiskArray(folder / "masks.npy", n))

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def content_key(self) -> int:
        """Checksum of the decoded cells and their metadata, to which everything computed from them is bound.

        Unlike the key of the table, it does not change with the dates of the files.
        """
        table = self.table
        parts = (
            self.image_size,
            table.domain_names,
            table.domains,
            table.labels,
            table.groups,
            table.files,
            table.digests,
            table.mask_digests or table.has_mask,
        )
        return crc32(repr(parts).encode())

    @property
    def image_size(self) -> int:
        """Side of the stored squares, pixels."""
        return int(self.pixels.shape[1])

    def mean_std(self, rows: np.ndarray) -> tuple[ChannelValues, ChannelValues]:
        """Returns the mean and standard deviation of each colour channel over the given rows, 0..255.

        As in the original, the standard deviation is computed per image and averaged over images.
        """
        means = np.zeros((len(rows), 3))
        stds = np.zeros((len(rows), 3))
        for i, row in enumerate(rows):
            image = self.pixels[row].reshape(-1, 3)
            means[i], stds[i] = image.mean(0), image.std(0)
        return _channels(means.mean(0)), _channels(stds.mean(0))


def _channels(values: np.ndarray) -> ChannelValues:
    red, green, blue = np.round(values, 4).tolist()
    return red, green, blue


def store_cells(
    datasets: Sequence["Dataset"],
    folder: Path,
    image_size: int = 224,
    normalization: NormalizationConfig | None = None,
    *,
    microns_per_pixel: Mapping[str, float] | None = None,
) -> CellStore:
    """Decodes data sets into a folder, or opens the store if it already contains them.

    Unreadable images are reported and skipped.

    Args:
        datasets: Data sets from the loaders of `bc_sam.data`, each with a single domain.
        folder: Folder of the store.
        image_size: Side of the stored squares, pixels.
        normalization: The normalization of scale and light, with one profile per data set; ``None`` stretches whole
            images to squares.
        microns_per_pixel: Known pixel size of the data sets' images, µm, by name; the others are measured.

    Returns:
        The store.

    Raises:
        DataError: If two data sets share a name, or one has no readable image.
        ConfigError: If a pixel size is implausible.
    """
    names = [dataset[0]["domain"] for dataset in map(_undecoded, datasets)]
    require_distinct(names)
    known = dict(microns_per_pixel or {})
    if unknown := known.keys() - set(names):
        raise DataError(f"A pixel size is given for {', '.join(unknown)}, but the data sets are {', '.join(names)}.")
    for size in known.values():
        require_pixel_size(size)
    key = _content_key(datasets, image_size)
    if normalization is not None:
        key = crc32(repr((normalization, sorted(known.items()))).encode(), key)
    if holds_cells(folder, key):
        return CellStore.open(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # The arrays are written in place, so the table, which marks them as complete, is removed first.
    (folder / "table.json").unlink(missing_ok=True)
    preparations = [
        _preparation(dataset, name, image_size, normalization, known.get(name))
        for name, dataset in zip(names, map(_undecoded, datasets), strict=True)
    ]
    table = replace(
        decode_cells(datasets, names, folder, preparations, key),
        profiles=[preparation.profile for preparation in preparations if preparation.profile is not None],
        field_of_view=normalization.field_of_view if normalization else None,
    )
    for domain, name in enumerate(names):
        if domain not in table.domains:
            raise DataError(f"No image of {name!r} can be read. First error: {table.unreadable[0]}")
    table.save(folder / "table.json")
    return CellStore.open(folder)


def require_distinct(names: Sequence[str]) -> None:
    """Checks that no two data sets share a name.

    Raises:
        DataError: If two do.
    """
    if len(set(names)) < len(names):
        raise DataError(f"Two data sets share a name: {', '.join(names)}. Give each a different NAME in NAME=SOURCE.")


def _preparation(
    dataset: "Dataset", name: str, image_size: int, normalization: NormalizationConfig | None, known: float | None
) -> Preparation:
    """Measures a sample of a data set's images, if they are to be normalized."""
    if normalization is None:
        return Preparation(image_size)
    sampled = dataset.select(sample_evenly(len(dataset)))["image"]
    return Preparation(image_size, normalization, laboratory_profile(list(sampled), name, known))


def laboratory_profile(sample: Sequence[Any], name: str, known: float | None = None) -> AppearanceProfile:
    """Measures a sample of a laboratory's images, and logs its scale.

    Args:
        sample: Images as `bc_sam.data.images.read_image` takes them; unreadable ones are skipped.
        name: Name of the laboratory, for the log.
        known: Pixel size given by the user, µm.
    """
    profile = profile_sources(sample, microns_per_pixel=known)
    if profile is None:  # a single image, or all unreadable, which is reported later
        profile = AppearanceProfile(Scale(known, "given" if known else "unknown"))
    elif profile.scale.microns_per_pixel is None:
        logger.warning("%s: the scale is unknown. %s", name, profile.scale.reason)
    else:
        logger.info("%s: %s", name, profile)
    return profile


def _undecoded(dataset: "Dataset") -> "Dataset":
    """Disables decoding by `datasets`, so that a corrupt image can be reported instead of ending the run."""
    from datasets import Image as ImageFeature

    raw = ImageFeature(decode=False)
    return dataset.cast_column("image", raw).cast_column("mask", raw)


def holds_cells(folder: Path, key: int) -> bool:
    """Whether a folder contains exactly the cells with this key, in a format that this version reads."""
    try:
        if CellTable.load(folder / "table.json").key != key:
            return False
        CellStore.open(folder)
    except ConfigError:
        return False
    except (OSError, EOFError, ValueError) as error:
        logger.warning("The decoded cells in %s are damaged (%s). They are decoded again.", folder, error)
        return False
    return True


def _content_key(datasets: Sequence["Dataset"], image_size: int) -> int:
    """Returns a checksum of the names, sizes, times or bytes of all files, their metadata and the stored size."""
    key = crc32(str(image_size).encode())
    for dataset in map(_undecoded, datasets):
        for cell in dataset:
            parts = [cell["domain"], cell["label"], cell["group"], cell["file"]]
            for source in (cell["image"], cell["mask"]):
                if source is not None and source["bytes"] is not None:
                    parts.append(crc32(source["bytes"]))
                elif source is not None:
                    stat = os.stat(source["path"]) if os.path.exists(source["path"]) else None
                    parts.append((stat.st_size, stat.st_mtime_ns) if stat else "missing")
            key = crc32(repr(parts).encode(), key)
    return key


def decode_cells(
    datasets: Sequence["Dataset"], names: list[str], folder: Path, preparations: Sequence[Preparation], key: int
) -> CellTable:
    """Decodes data sets in order, one chunk at a time, into the arrays of a store.

    Args:
        datasets: Data sets of cells.
        names: Their names.
        folder: Folder of the arrays, which exists.
        preparations: How the images of each data set are prepared.
        key: Key of the table.

    Returns:
        The table, without profiles, which has to be saved to make the store complete.
    """
    total, size = sum(map(len, datasets)), preparations[0].image_size
    pixels = create_array(folder / "pixels.npy", np.uint8, (total, size, size, 3))
    masks = create_array(folder / "masks.npy", np.uint8, (total, size, size))
    cells: list[dict[str, Any]] = []
    unreadable: list[str] = []
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=total, desc="Reading images", unit="image", disable=None) as progress,
    ):
        for domain, dataset in enumerate(map(_undecoded, datasets)):
            rows = count()
            for chunk in dataset.iter(batch_size=_CHUNK):
                sources = [dict(zip(chunk, values, strict=True)) for values in zip(*chunk.values(), strict=True)]
                for cell, row in zip(sources, rows, strict=False):  # rows last, which would skip a number otherwise
                    cell["file"] = cell["file"] or f"{names[domain]}[{row}]"
                    cell["image"]["path"] = cell["image"]["path"] or cell["file"]  # for messages
                readable = []
                decode = partial(_decode, preparation=preparations[domain])
                for cell, decoded in zip(sources, pool.map(decode, sources), strict=True):
                    if isinstance(decoded, ImageError):
                        message = without_folder(decoded, cell["image"]["path"], cell["file"])
                        unreadable.append(f"{names[domain]}: {message}")
                        logger.warning("Skipped: %s", decoded)
                    else:
                        readable.append(decoded)
                        given = {name: cell[name] for name in ("label", "group", "file")}
                        given |= {"domain": domain, "has_mask": cell["mask"] is not None}
                        cells.append(given | decoded.metadata)
                if readable:
                    start = len(cells) - len(readable)
                    pixels.write(start, np.stack([cell.pixels for cell in readable]))
                    masks.write(start, np.stack([cell.mask for cell in readable]))
                progress.update(len(sources))
    for array in (pixels, masks):
        array.sync()  # before the table marks them as complete
    values: defaultdict[str, set[float]] = defaultdict(set)
    for cell in cells:
        if cell["mask_values"]:
            values[names[cell["domain"]]].update(cell["mask_values"])
    return CellTable(
        key=key,
        domain_names=names,
        domains=[cell["domain"] for cell in cells],
        labels=[-1 if cell["label"] is None else cell["label"] for cell in cells],
        groups=[cell["group"] for cell in cells],
        files=[cell["file"] for cell in cells],
        fingerprints=[cell["fingerprint"] for cell in cells],
        digests=[cell["digest"] for cell in cells],
        has_mask=[cell["has_mask"] for cell in cells],
        sizes=[cell["size"] for cell in cells],
        unreadable=unreadable,
        resolution_tags=[cell["resolution_tag"] for cell in cells],
        mask_digests=[cell["mask_digest"] for cell in cells],
        mask_values={name: sorted(found)[:_MAX_VALUES] for name, found in values.items()},
    )


def without_folder(error: ImageError, path: str | None, file: str) -> str:
    """Returns the error message without the local folder, since it is published with the model."""
    return str(error).replace(path, file) if path else str(error)


@dataclass(frozen=True)
class _Decoded:
    pixels: np.ndarray
    mask: np.ndarray
    metadata: dict[str, Any]


def _decode(cell: dict[str, Any], preparation: Preparation) -> _Decoded | ImageError:
    """Reads one image and its mask. Returns errors instead of raising them, so that decoding continues."""
    try:
        with memory_for(cell["image"], max_pixels=MAX_PIXELS):
            image = read_pixels(cell["image"])
            tag = read_resolution_tag(cell["image"])
            prepared = preparation.prepare(image, tag)
            del image  # before the memory is given back
        pixels = prepared.pixels
        values: list[float] = []
        if cell["mask"] is None:
            mask = np.full(pixels.shape[:2], NO_MASK, dtype=np.uint8)
        else:
            with memory_for(cell["mask"], max_pixels=MAX_PIXELS):
                mask, values = read_mask_and_values(cell["mask"])
                mask = prepared.see_mask(mask)
    except ImageError as error:
        return error
    metadata = {
        "fingerprint": fingerprint(pixels),
        "digest": digest_of(pixels),
        "mask_digest": digest_of(mask),
        "mask_values": values,
        "size": prepared.shape,
        "resolution_tag": tag.microns_per_pixel if tag else None,
    }
    return _Decoded(pixels, mask, metadata)


def digest_of(array: np.ndarray) -> int:
    """Returns a 64-bit hash of the values of an array."""
    return int.from_bytes(hashlib.blake2b(array.tobytes(), digest_size=8).digest())
