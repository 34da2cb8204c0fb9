"""What experiments and adaptations share: a locked run folder, its data, and the accelerator it runs on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from datasets import Dataset

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.reading_options import Layout, ReadingOptions
from bc_sam.data.sources import load_domains, provenance_of
from bc_sam.data.store import CellStore, require_distinct
from bc_sam.data.streaming.cache import ShardCache
from bc_sam.data.streaming.joined import store_domains
from bc_sam.data.survey import Survey, survey_cells
from bc_sam.errors import BCSamError, ConfigError, DataError
from bc_sam.models.training_record import DataRecord
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.utils.atomic import is_unfinished
from bc_sam.utils.folder_lock import LOCK, FolderLock
from bc_sam.utils.json_config import JsonConfig, read_json
from bc_sam.utils.model_source import is_hub_id
from bc_sam.utils.processes import processes

logger = logging.getLogger(__name__)


#: What to do about a run folder that another process writes to.
IN_USE = "Wait until it has finished, or choose another --out."


def lock_run_folder(folder: Path, name: str, config: JsonConfig) -> FolderLock | None:
    """Binds a run folder to a config and keeps other processes out of it.

    A run folder is bound to the config it was created with, unless that run failed before it computed anything but
    decoded cells, which the next one checks and replaces.

    Args:
        folder: The run folder; created with its parents if it does not exist.
        name: Name of the config's file in the folder.
        config: The config of the run.

    Returns:
        The lock, which is released at the latest when it is collected; ``None`` outside the main process.

    Raises:
        BCSamError: If the folder holds a run with another config, is not a run folder, or is in use by another run.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp()) / "run"
        >>> with lock_run_folder(folder, "run.json", TrainingArguments(seed=1)):
        ...     pass
        >>> with lock_run_folder(folder, "run.json", TrainingArguments(seed=2)):
        ...     pass
        >>> TrainingArguments.load(folder / "run.json").seed
        2
    """
    _require_own_folder(folder, name, config)
    state, lock = processes(), None
    state.wait_for_everyone()  # all processes check before one writes
    if state.is_main_process:
        lock = FolderLock(folder, remedy=IN_USE)
        _require_own_folder(folder, name, config)  # another run may have begun since
        config.save(folder / name)
    state.wait_for_everyone()
    return lock


def _require_own_folder(folder: Path, name: str, config: JsonConfig) -> None:
    """Checks that a folder can hold, or already holds, the run with a config."""
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    inside = {file_name for file_name in names if file_name != LOCK and not is_unfinished(file_name)}
    if (folder.exists() and not folder.is_dir()) or (inside and name not in inside):
        raise BCSamError(f"{folder} exists and is not a run folder of this kind. Choose another --out.")
    other = bool(inside - {name}) and _read_config(folder / name, type(config)) not in (None, config)
    if other and _holds_results(folder, name):
        raise BCSamError(f"{folder} holds a run with other options. Choose another --out, or delete it.")


def _holds_results(folder: Path, name: str) -> bool:
    """Whether a run computed anything that belongs to its config, which has this name."""
    for path in folder.rglob("*") if folder.is_dir() else ():
        inside = path.relative_to(folder).parts
        idle = inside[:2] == ("work", "cells") or inside[0] in ("logs", name, LOCK) or is_unfinished(path.name)
        if path.is_file() and not idle and path.name != LOCK:
            return True
    return False


def _read_config(path: Path, kind: type[JsonConfig]) -> JsonConfig | None:
    """Reads the config of a run; returns ``None`` if nothing of it can be read, which is logged."""
    try:
        read_json(path)
    except ConfigError as error:
        logger.warning("%s It is written again: make sure that these are the options the run was started with.", error)
        return None
    return kind.load(path)


@dataclass(frozen=True)
class DataSources:
    """The data sets of a run.

    Attributes:
        specs: Data sets as ``NAME=SOURCE``; see `bc_sam.data.sources.load_cells`.
        masks: CSV file that pairs images with annotated masks.
        label_map: Canonical class of each of a folder's own class names; ``None`` skips the folder.
        group_pattern: Regular expression whose first group on a file name is the slide.
        microns_per_pixel: Known pixel size of the data sets' images, µm, by name; the others are measured.
        layout: Where slides, splits and columns of the data sets are.
    """

    specs: tuple[str, ...]
    masks: str | None = None
    label_map: Mapping[str, str | None] = field(default_factory=dict)
    group_pattern: str | None = None
    microns_per_pixel: Mapping[str, float] = field(default_factory=dict)
    layout: Layout = field(default_factory=Layout)

    @property
    def names(self) -> list[str]:
        """Names of the data sets."""
        return [spec.partition("=")[0] for spec in self.specs]

    def load(self, cache: ShardCache) -> list[Dataset]:
        """Loads the data sets without decoding their images, except those in shards, which are streamed and decoded.

        Args:
            cache: Decodes the shards, and keeps them.

        Raises:
            DataError: If a data set cannot be used.
        """
        require_distinct(self.names)
        options = ReadingOptions(self.masks, self.label_map, self.group_pattern, **vars(self.layout), cache=cache)
        return load_domains(self.specs, options)


class Run:
    """A run folder with its data and accelerator, locked against other processes until it is closed or collected.

    Args:
        folder: The run folder.
        training: Settings of the training.
        sources: The data sets.
        log_with: Trackers for Accelerate to log to.
        work: Folder for intermediate files, which runs may share one after another; by default ``work`` in the run
            folder.

    Raises:
        BCSamError: If the folder is in use by another run.
    """

    def __init__(
        self,
        folder: Path,
        training: TrainingArguments,
        sources: DataSources,
        *,
        log_with: Sequence[str] = (),
        work: Path | None = None,
    ) -> None:
        self.folder = folder
        self.training = training
        self.sources = sources
        self.work = work or folder / "work"
        self._locks: list[FolderLock] = []
        if processes().is_main_process:
            self._locks.append(FolderLock(folder, remedy=IN_USE))
            if work is not None:
                self._locks.append(FolderLock(work, wait=True))
        self.accelerator, self.precision = start_accelerator(training, folder, log_with)

    def close(self) -> None:
        """Releases the folders for other processes."""
        for lock in self._locks:
            lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and prints output."""
        return self.accelerator.is_main_process

    @property
    def image_size(self) -> int:
        """Side at which cells are stored, pixels."""
        return self.training.image_size

    @property
    def normalization(self) -> NormalizationConfig | None:
        """Normalization of the cells."""
        return self.training.normalization

    @cached_property
    def shards(self) -> ShardCache:
        """The decoded cells of data sets in shards."""
        sizes = self.sources.microns_per_pixel
        return ShardCache(self.work / "cells" / "shards", self.image_size, self.normalization, sizes)

    def load_datasets(self) -> list[Dataset]:
        """Loads the data sets; see `DataSources.load`.

        Raises:
            DataError: If they are unsuitable for the run.
        """
        return self.sources.load(self.shards)

    @cached_property
    def datasets(self) -> list[Dataset]:
        """The data sets, with undecoded images, or, of those in shards, references to decoded ones."""
        with self.accelerator.main_process_first():  # it unpacks, downloads and renders for all processes
            return self.load_datasets()

    @cached_property
    def cells(self) -> CellStore:
        """The decoded cells of all data sets."""
        datasets = self.datasets
        decoded = [self.shards.decoded.get(name) for name in self.sources.names]
        with self.accelerator.main_process_first():
            return store_domains(
                datasets,
                decoded,
                self.work / "cells",
                self.image_size,
                self.normalization,
                microns_per_pixel=self.sources.microns_per_pixel,
            )

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Class names: the 13 of white blood cells, or those of a data set of other cells.

        Raises:
            DataError: If the data sets have different classes.
        """
        label_sets = {tuple(dataset.features["label"].names) for dataset in self.datasets}
        if len(label_sets) > 1:
            raise DataError(
                f"The data sets have different classes: {label_sets}. Train on one kind of cell at a time."
            )
        return label_sets.pop()

    @cached_property
    def survey(self) -> Survey:
        """A survey of the data, with warnings about possible problems."""
        return survey_cells(self.cells, self.labels, quiet=not self.is_main_process)

    def data_records(self) -> tuple[DataRecord, ...]:
        """Describes each data set, without local paths."""
        cells, table = self.cells, self.cells.table
        names, records = table.domain_names, []
        for domain, (spec, dataset) in enumerate(zip(self.sources.specs, self.datasets, strict=True)):
            own = cells.domains == domain
            source = spec.partition("=")[2]
            records.append(
                DataRecord(
                    name=names[domain],
                    images=int(own.sum()),
                    labelled=int((cells.labels[own] >= 0).sum()),
                    masks=int(cells.has_mask[own].sum()),
                    unreadable=sum(message.startswith(f"{names[domain]}: ") for message in table.unreadable),
                    hub_id=source if is_hub_id(source) else None,
                    provenance=provenance_of(dataset),
                )
            )
        return tuple(records)
