"""One store of the cells of all laboratories, decoded shard by shard or from loaded data sets."""

from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path
from zlib import crc32

import numpy as np
from datasets import Dataset

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.store import CellStore, CellTable, require_distinct, store_cells
from bc_sam.data.streaming.decoded import DECODED_COLUMNS, DecodedShards
from bc_sam.errors import DataError
from bc_sam.utils.memmap import StackedRows


def store_domains(
    datasets: Sequence[Dataset],
    decoded: Sequence[DecodedShards | None],
    folder: Path,
    image_size: int = 224,
    normalization: NormalizationConfig | None = None,
    *,
    microns_per_pixel: Mapping[str, float] | None = None,
) -> CellStore:
    """Returns the cells of data sets in their order, and decodes those that are not decoded yet.

    Args:
        datasets: Data sets from the loaders of `bc_sam.data`, each with a single domain.
        decoded: The decoded shards of each data set, or ``None`` if it is to be decoded by
            `bc_sam.data.store.store_cells`.
        folder: Folder of what is decoded here.
        image_size: Side of the stored squares, pixels.
        normalization: As for `store_cells`.
        microns_per_pixel: As for `store_cells`.

    Raises:
        DataError: If two data sets share a name, or one has no readable image.
        ConfigError: If a pixel size is implausible.
    """
    if not any(decoded):
        return store_cells(datasets, folder, image_size, normalization, microns_per_pixel=microns_per_pixel)
    known, stores = dict(microns_per_pixel or {}), []
    for number, (is_decoded, entries) in enumerate(groupby(zip(datasets, decoded, strict=True), lambda e: bool(e[1]))):
        group = list(entries)
        if is_decoded:
            stores += [shards.select(dataset) for dataset, shards in group if shards]
            continue
        loaded = [dataset for dataset, _ in group]
        sizes = {name: known[name] for dataset in loaded if (name := dataset["domain"][0]) in known}
        stores.append(
            store_cells(loaded, folder / f"loaded-{number}", image_size, normalization, microns_per_pixel=sizes)
        )
    names = [name for store in stores for name in store.table.domain_names]
    require_distinct(names)
    if unknown := known.keys() - set(names):
        raise DataError(f"A pixel size is given for {', '.join(unknown)}, but the data sets are {', '.join(names)}.")
    return _join(stores)


def _join(stores: Sequence[CellStore]) -> CellStore:
    """Returns the cells of several stores as one store, without copying them."""
    if len(stores) == 1:
        return stores[0]
    tables = [store.table for store in stores]
    firsts = np.cumsum([0, *(len(table.domain_names) for table in tables)]).tolist()
    lists = ("domain_names", "labels", "groups", "files", "unreadable", "profiles", *DECODED_COLUMNS)
    table = CellTable(
        key=crc32(repr([table.key for table in tables]).encode()),
        domains=[first + domain for first, table in zip(firsts, tables, strict=False) for domain in table.domains],
        field_of_view=tables[0].field_of_view,
        mask_values={name: values for table in tables for name, values in table.mask_values.items()},
        **{name: list(chain.from_iterable(getattr(table, name) for table in tables)) for name in lists},
    )
    pixels = StackedRows([store.pixels for store in stores])
    return CellStore(table, pixels, StackedRows([store.masks for store in stores]))
