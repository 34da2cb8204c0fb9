"""Predictions as further columns of a data set of `datasets` or Ray Data."""

from itertools import islice
from typing import Any, TypeVar

from bc_sam.data.preparation import PROFILE_SAMPLE, sample_evenly
from bc_sam.errors import ConfigError
from bc_sam.models.batch.predictor import CellPredictor, require_new_columns
from bc_sam.models.batch.rows import schema
from bc_sam.models.batch.settings import BatchSettings

D = TypeVar("D")

_DEFAULT = BatchSettings()

# Images of a batch of a data set: several batches of the model, so that decoding runs ahead.
_BATCH = 64


def predict(
    dataset: D,
    settings: BatchSettings = _DEFAULT,
    *,
    image: str = "image",
    workers: int = 1,
    cpus: float = 1,
    gpus: float = 0,
    **machine: Any,
) -> D:
    """Adds the columns of `bc_sam.models.batch.rows.schema` to a data set; unreadable images get an ``error``.

    The scale and stain of the images are measured on a sample of them, once: evenly spaced, or the first of a data set
    that is streamed or Ray's. For a folder of results that survives interruptions, see
    `bc_sam.models.batch.run.run_batch`.

    Args:
        dataset: A `datasets.Dataset`, a `datasets.IterableDataset`, or a `ray.data.Dataset`, which stays lazy.
        settings: What is computed.
        image: Column of the images.
        workers: Actors of Ray Data, each with a model.
        cpus: Cores of each actor.
        gpus: GPUs of each actor.
        **machine: Options of loading the model, such as ``device``.

    Returns:
        A data set of the same kind.

    Raises:
        ConfigError: If it is another kind of object, has no column of images, or one that would be replaced.

    Example:
        >>> predict(datasets.load_dataset("org/cells", split="train"))["name"]  # doctest: +SKIP
        ['monocyte', None]
    """
    library = type(dataset).__module__.partition(".")[0]
    if library == "datasets":
        return _predict_datasets(dataset, settings, image, machine)
    if library == "ray":
        return _predict_ray(dataset, settings, image, workers, cpus, gpus, machine)
    raise ConfigError(
        f"A {type(dataset).__name__} is no data set of datasets or ray.data. Convert it, or use CellPredictor."
    )


def _predict_datasets(dataset: Any, settings: BatchSettings, image: str, machine: dict[str, Any]) -> Any:
    from datasets import Features, Image

    features = dataset.features
    require_new_columns(settings.task, features or next(iter(dataset)), image)
    if isinstance((features or {}).get(image), Image):
        dataset = dataset.cast_column(image, Image(decode=False))
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        sample = [dataset[index][image] for index in sample_evenly(len(dataset))]
    else:
        sample = [row[image] for row in islice(dataset, PROFILE_SAMPLE)]
    predictor = CellPredictor(settings, sample=sample, **machine)
    added = Features.from_arrow_schema(schema(settings.task))
    columns = {**dataset.features, **{name: added[name] for name in predictor.columns}} if features else None
    predicted = dataset.map(
        _OnDatasets(predictor, image),
        batched=True,
        batch_size=_BATCH,
        features=None if columns is None else Features(columns),
    )
    return predicted.cast_column(image, features[image]) if features else predicted


def _predict_ray(
    dataset: Any, settings: BatchSettings, image: str, workers: int, cpus: float, gpus: float, machine: dict[str, Any]
) -> Any:
    from ray.data import ActorPoolStrategy

    require_new_columns(settings.task, dataset.columns(), image)
    sample = [row[image] for row in dataset.take(PROFILE_SAMPLE)]
    predictor = CellPredictor(settings, sample=sample, **machine)
    return dataset.map_batches(
        _OnRay,
        fn_constructor_args=(predictor, image),
        batch_size=_BATCH,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=workers),
        num_cpus=cpus,
        num_gpus=gpus or None,
    )


class _OnDatasets:
    """The function that `datasets` applies to batches."""

    def __init__(self, predictor: CellPredictor, image: str) -> None:
        self._predictor, self._image = predictor, image

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        return self._predictor(batch[self._image])


class _OnRay:
    """The class that Ray makes actors of."""

    def __init__(self, predictor: CellPredictor, image: str) -> None:
        self._predictor, self._image = predictor, image

    def __call__(self, table: Any) -> Any:
        import pyarrow as pa

        column = table[self._image].combine_chunks()
        # Images that Ray has decoded are an extension type of tensors.
        images = list(column.to_numpy(zero_copy_only=False)) if isinstance(column, pa.ExtensionArray) else None
        computed = self._predictor(column.to_pylist() if images is None else images)
        types = schema("predict")
        for name, values in computed.items():
            table = table.append_column(name, pa.array(values, types.field(name).type))
        return table
