"""What a batch job computes: everything that its rows depend on besides the cells themselves."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bc_sam.config.labels import KINDS_THAT_CAN_OCCUR
from bc_sam.config.model import BCSamConfig
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.blocks.plan import BLOCK_SIZE
from bc_sam.errors import BCSamError, ConfigError
from bc_sam.models.folder import model_digest
from bc_sam.models.stored_model import Backend, LoadOptions, StoredModel
from bc_sam.utils.json_config import JsonConfig
from bc_sam.utils.model_source import EMBEDDED_MODEL, is_hub_id

Task = Literal["predict", "embed", "count"]

#: Images that pass the model at a time. A constant, since the last digits of an embedding depend on it.
BATCH_SIZE = 16

# Fields of a block; one with fifty white cells takes about four seconds of one core.
_FIELDS = 20


@dataclass(frozen=True)
class BatchSettings(JsonConfig):
    """The options of a job that its results depend on. A job is only continued with the same.

    Attributes:
        task: ``"predict"`` for names and embeddings, ``"embed"`` for embeddings only, or ``"count"`` for the cells of
            whole fields.
        model: Model folder, run folder or Hub id.
        revision: Its revision on the Hub.
        subfolder: Its folder in the repository.
        classifier: Name of the classifier; ``None`` for the model's own choice.
        labels: Labels that can occur; empty for all with which the model was saved.
        abstain: Whether cells may get no name.
        platelets: Whether platelets of fields are counted.
        microns_per_pixel: Pixel size of the images, µm; ``None`` to measure it.
        batch_size: Images that pass the model at a time; no effect on fields.
        dtype: Data type of SAM's encoder.
        backend: What computes; ``None`` for torch where it is installed, else ONNX Runtime. A job keeps to what it
            began with.
        block_size: Most cells, or fields, of a block; ``None`` for 1,000 cells or 20 fields.
        split: The split of the source.
        columns: Columns of ``image`` and ``file`` in parquet files.
    """

    task: Task = "predict"
    model: str = EMBEDDED_MODEL
    revision: str | None = None
    subfolder: str | None = None
    classifier: str | None = None
    labels: tuple[str, ...] = ()
    abstain: bool = True
    platelets: bool = False
    microns_per_pixel: float | None = None
    batch_size: int = BATCH_SIZE
    dtype: str = "auto"
    backend: Backend | None = None
    block_size: int | None = None
    split: str | None = None
    columns: dict[str, str] = field(default_factory=dict)

    @property
    def images(self) -> str:
        """What the images of the source are called."""
        return "fields" if self.task == "count" else "cells"

    @property
    def images_of_block(self) -> int:
        """Most cells, or fields, of a block."""
        return self.block_size or (_FIELDS if self.task == "count" else BLOCK_SIZE)

    def load_options(self) -> LoadOptions:
        """Returns the options of loading the model that are the same on all machines."""
        return LoadOptions(
            revision=self.revision,
            subfolder=self.subfolder,
            classifiers=[] if self.task == "embed" else [self.classifier or "default"],
            dtype=self.dtype,
            backend=self.backend,
        )


@dataclass(frozen=True)
class ModelIdentity(JsonConfig):
    """Which model a job uses.

    Attributes:
        source: Folder or Hub id, as given.
        commit: Commit on the Hub; ``None`` for a folder.
        digest: Hash of its weights, classifiers and config.
        labels: Its labels, in the order of the column ``probabilities``.
    """

    source: str
    commit: str | None
    digest: str
    labels: tuple[str, ...]

    @classmethod
    def of(cls, stored: StoredModel) -> "ModelIdentity":
        """Returns the identity of a model folder whose files have been checked."""
        return cls(stored.source, _commit(stored), model_digest(stored.config), stored.config.labels)


@dataclass(frozen=True)
class Job(JsonConfig):
    """All that a worker on any machine has to know, as JSON.

    Attributes:
        settings: What is computed.
        model: The model that it has to be.
        profile: Scale and stain of the source; ``None`` if the model does not normalize images, or they cannot be
            measured.
        source: Fingerprint of the source.
    """

    settings: BatchSettings
    model: ModelIdentity
    profile: AppearanceProfile | None
    source: str

    @property
    def digest(self) -> str:
        """Hash of all that the rows depend on; it is written into every file of results."""
        values = asdict(self) | {"model": self.model.digest}
        values["settings"] |= {"model": "", "revision": None}  # where the model lies does not matter
        if self.settings.task != "count":
            del values["settings"]["platelets"]  # which settings of former versions do not have
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def open_model(settings: BatchSettings, **machine: Any) -> StoredModel:
    """Locates and verifies the model of a job, without building it.

    Args:
        settings: The settings.
        **machine: Options of loading it on this machine, such as ``device`` and ``token``.

    Raises:
        BCSamError: See `StoredModel.open`.
        ConfigError: If it cannot name cells as asked: it has no such classifier or label.
    """
    options: Any = {**settings.load_options(), **machine}
    stored = StoredModel.open(settings.model, **options)
    if settings.task != "embed":
        _require_names(settings, stored.config)
    return stored


def pinned(settings: BatchSettings, model: ModelIdentity) -> BatchSettings:
    """Returns settings with which workers load the same commit of a model on the Hub, whatever is pushed meanwhile."""
    return settings if model.commit is None else replace(settings, revision=model.commit)


def require_same_model(expected: ModelIdentity, found: ModelIdentity, where: str) -> None:
    """Checks that a worker has the model of the job.

    Args:
        expected: The model of the job.
        found: The model of the worker.
        where: The worker, for the message.

    Raises:
        BCSamError: If it is another one.
    """
    if found.digest != expected.digest:
        raise BCSamError(
            f"{where} has another version of the model {expected.source}: {found.digest[:12]}, but the job began with "
            f"{expected.digest[:12]}. Install the same version of bc_sam on all machines, and give a model on the Hub "
            "or in a folder that all of them see."
        )


def _commit(stored: StoredModel) -> str | None:
    if not is_hub_id(stored.source):
        return None
    parts = Path(stored.folder).parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def _require_names(settings: BatchSettings, config: BCSamConfig) -> None:
    classifiers = list(config.classifiers) or ([config.default_classifier] if config.network else [])
    if settings.classifier is not None and classifiers and settings.classifier not in classifiers:
        raise ConfigError(
            f"This model has no classifier {settings.classifier!r}. Choose from {', '.join(classifiers)}."
        )
    presets = (*KINDS_THAT_CAN_OCCUR, "all") if len(settings.labels) == 1 else ()
    if unknown := [label for label in settings.labels if label not in (*config.labels, *presets)]:
        raise ConfigError(f"The model has no label {unknown[0]!r}. Choose from {', '.join(config.labels)}.")
