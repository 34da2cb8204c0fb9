"""Conversion of any image data set, from parquet or the Hub, to the columns of the loaders."""

import logging
from collections.abc import Mapping

from datasets import ClassLabel, Dataset, Image

from bc_sam.config.labels import ERYTHROID_LABELS, LABELS
from bc_sam.data.cells import FEATURES, features_of
from bc_sam.data.datasets.image_folder import resolve_labels
from bc_sam.errors import DataError

# Erythroid cells are the only other label set; their labels are kept.
_ERYTHROID = features_of(ERYTHROID_LABELS)

logger = logging.getLogger(__name__)


def conform(dataset: Dataset, domain: str, label_map: Mapping[str, str | None] | None = None) -> Dataset:
    """Converts any data set with a column `image` to the columns `bc_sam.data.cells.FEATURES`.

    Classes are mapped by name, never by index, since data sets may order them differently. Other columns are dropped;
    missing ones are filled with ``None``, and `domain` with the given name.

    Args:
        dataset: Data set whose optional column `label` contains class names or is a `ClassLabel`.
        domain: Name of the laboratory, used if the data set has no column `domain`.
        label_map: As for `load_cells`.

    Raises:
        DataError: If `image` is missing or contains no images, or `label` contains unnamed indices or unknown names.
    """
    if "image" not in dataset.column_names:
        found = ", ".join(dataset.column_names)
        raise DataError(f"{domain} has the columns {found}, but no column image. Rename the image column to image.")
    for column in ("image", "mask"):
        if column in dataset.column_names and not isinstance(dataset.features[column], Image):
            dataset = _cast_image(dataset, column, domain)
    features = FEATURES
    if "label" in dataset.column_names and dataset.features["label"] == _ERYTHROID["label"]:
        features = _ERYTHROID
    elif "label" in dataset.column_names and dataset.features["label"] != FEATURES["label"]:
        dataset = _canonical_labels(dataset, domain, label_map or {})
    for column, feature in FEATURES.items():
        if column not in dataset.column_names:
            fill = domain if column == "domain" else None
            dataset = dataset.add_column(column, [fill] * len(dataset), feature=feature)
    dataset = dataset.select_columns(list(FEATURES))
    return dataset if dataset.features == features else dataset.cast(features)


def _cast_image(dataset: Dataset, column: str, domain: str) -> Dataset:
    try:
        return dataset.cast_column(column, Image())
    except (TypeError, ValueError, NotImplementedError) as error:
        dtype = getattr(dataset.features[column], "dtype", dataset.features[column])
        message = f"Column {column} of {domain} contains {dtype}, not images. Store paths, bytes or datasets.Image."
        raise DataError(message) from error


def _canonical_labels(dataset: Dataset, domain: str, label_map: Mapping[str, str | None]) -> Dataset:
    names = _label_names(dataset, domain)
    present = sorted({name for name in names if name is not None})
    labels = resolve_labels(present, label_map, where=domain)
    kept = [i for i, name in enumerate(names) if name is None or labels[name] is not None]
    if len(kept) < len(names):
        logger.info("%s: %d of %d cells excluded by the label map.", domain, len(names) - len(kept), len(names))
        dataset = dataset.select(kept)
    indices = {None: None} | {name: LABELS.index(label) for name, label in labels.items() if label is not None}
    canonical = [indices[names[i]] for i in kept]
    return dataset.remove_columns("label").add_column("label", canonical, feature=FEATURES["label"])


def _label_names(dataset: Dataset, domain: str) -> list[str | None]:
    """Returns the class name of each row, or ``None`` for unlabelled rows, which some data sets encode as -1."""
    feature, values = dataset.features["label"], dataset["label"][:]
    if isinstance(feature, ClassLabel):
        return [None if value is None or value < 0 else feature.names[value] for value in values]
    if feature.dtype not in ("string", "large_string"):
        raise DataError(f"The labels of {domain} are {feature.dtype}, not class names. Store names or a ClassLabel.")
    return list(values)
