"""Decoded shards of one laboratory, and the store of those of their cells that a data set consists of."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from zlib import crc32

import numpy as np
from datasets import Dataset, Image

from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.store import CellStore, CellTable
from bc_sam.errors import DataError
from bc_sam.utils.memmap import StackedRows

#: Columns of tables about each cell that decoding yields, beside what the data set says of it.
DECODED_COLUMNS = ("fingerprints", "digests", "has_mask", "sizes", "resolution_tags", "mask_digests")


@dataclass(frozen=True)
class DecodedShards:
    """The decoded cells of a laboratory, shard by shard.

    Attributes:
        stores: One store a shard, whose tables know nothing of labels and groups.
        rows: What the shards say of the cells. In place of an image, each row has the number of its cell, counted
            through all shards, as a path: a data set may select rows, and the decoded cells follow.
        profile: Scale and stain of the laboratory; ``None`` if the cells are not normalized.
        field_of_view: Side of the stored squares, µm; ``None`` if the cells are not normalized.
    """

    stores: Sequence[CellStore]
    rows: Dataset
    profile: AppearanceProfile | None = None
    field_of_view: float | None = None

    def select(self, dataset: Dataset) -> CellStore:
        """Returns the store of a data set.

        Args:
            dataset: Rows of `rows` in the columns of `bc_sam.data.cells.FEATURES`, of one domain.

        Raises:
            DataError: If the data set is empty.
        """
        columns = dataset.cast_column("image", Image(decode=False)).remove_columns("mask")[:]
        if not columns["domain"]:
            raise DataError("No cell is left of a data set. Change --map, which leaves all of its classes out.")
        name = columns["domain"][0]
        chosen = np.array([int(image["path"]) for image in columns["image"]], dtype=np.int64)
        tables = [store.table for store in self.stores]
        values = sorted({value for table in tables for found in table.mask_values.values() for value in found})
        table = CellTable(
            key=crc32(repr([table.key for table in tables]).encode()),
            domain_names=[name],
            domains=[0] * len(chosen),
            labels=[-1 if label is None else label for label in columns["label"]],
            groups=columns["group"],
            files=columns["file"],
            unreadable=[message for table in tables for message in table.unreadable],
            profiles=[] if self.profile is None else [self.profile],
            field_of_view=self.field_of_view,
            mask_values={name: values} if values else {},
            **{column: self._chosen(column, chosen) for column in DECODED_COLUMNS},
        )
        pixels = StackedRows([store.pixels for store in self.stores], chosen)
        return CellStore(table, pixels, StackedRows([store.masks for store in self.stores], chosen))

    def _chosen(self, column: str, chosen: np.ndarray) -> list[Any]:
        """Returns the values of a column of the tables for the chosen cells."""
        values = list(chain.from_iterable(getattr(store.table, column) for store in self.stores))
        return [values[number] for number in chosen]
