"""A model as other engines call it: a function on batches of images that can be sent to any process."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bc_sam.data.preparation import profile_sources
from bc_sam.errors import ConfigError
from bc_sam.models.base import CellModel
from bc_sam.models.batch.rows import schema
from bc_sam.models.batch.settings import BatchSettings, Job, ModelIdentity, open_model
from bc_sam.models.batch.worker import compute, load_job_model

_DEFAULT = BatchSettings()


class CellPredictor:
    """Predicts or embeds batches of images in any process, which loads the model when it is first called there.

    Pickle it: the model itself does not travel. A process with another version of the model is refused.

    Args:
        settings: What is computed; block size, split and columns have no effect.
        sample: Images of the laboratory, a few dozen, from which scale and stain are measured once for all batches.
            Without them, a model that normalizes images measures each by itself, which is less accurate.
        **machine: Options of loading the model, such as ``device``.

    Raises:
        BCSamError: If the model cannot be loaded.
        ConfigError: If the task is to count fields.

    Example:
        >>> predictor = CellPredictor(sample=paths[:60])  # doctest: +SKIP
        >>> predictor(paths)["name"]  # doctest: +SKIP
        ['monocyte', None]
    """

    def __init__(self, settings: BatchSettings = _DEFAULT, *, sample: Sequence[Any] = (), **machine: Any) -> None:
        if settings.task == "count":
            raise ConfigError("CellPredictor takes cells. Count whole fields with bc_sam.batch.count.")
        stored = open_model(settings, **machine)
        settings = replace(settings, backend=stored.backend)
        self._profile_needed = stored.config.normalization is not None
        size = settings.microns_per_pixel
        profile = profile_sources(sample, microns_per_pixel=size) if self._profile_needed and len(sample) else None
        self._job = Job(settings, ModelIdentity.of(stored), profile, "")
        self._machine = machine
        self._model: CellModel | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the results; see `bc_sam.models.batch.rows.schema`."""
        return result_names(self._job.settings.task)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the model, in the order of the column ``probabilities``."""
        return self._job.model.labels

    def __call__(self, images: Iterable[Any]) -> dict[str, list[Any]]:
        """Computes images.

        Args:
            images: Paths, bytes, arrays, Pillow images, or mappings of ``bytes`` and ``path``.

        Returns:
            A list of values for each column, in the order of the images. An unreadable image has an ``error`` only.
        """
        if self._model is None:
            self._model = load_job_model(self._job, **self._machine)
        # An image without a profile is measured by itself, not with those that happen to share its batch.
        batches = (
            [images] if self._job.profile is not None or not self._profile_needed else ([image] for image in images)
        )
        rows = [row for batch in batches for row in compute(self._model, self._job, batch)]
        return {name: [row[name] for row in rows] for name in self.columns}

    def __getstate__(self) -> Mapping[str, Any]:
        return vars(self) | {"_model": None}


def result_names(task: str) -> tuple[str, ...]:
    """Returns the names of the columns of results, without those that say of which cell.

    Example:
        >>> result_names("embed")
        ('embedding', 'error')
    """
    return tuple(name for name in schema(task).names if name not in ("cell_id", "source"))


def require_new_columns(task: str, present: Iterable[str], image: str) -> None:
    """Checks that a data set has a column of images, and none that the results would replace.

    Args:
        task: The task.
        present: Columns of the data set.
        image: Column of the images.

    Raises:
        ConfigError: If it is not so.
    """
    names = list(present)
    if image not in names:
        raise ConfigError(f"The data set has no column {image!r}, but {', '.join(names)}. Name it with image=.")
    if taken := [name for name in result_names(task) if name in names]:
        raise ConfigError(f"The data set has a column {taken[0]!r} already, which would be replaced. Rename it first.")
