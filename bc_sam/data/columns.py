"""Conversion of any image data set, from parquet or the Hub, to the columns of the loaders."""

import logging
from collections import Counter
from collections.abc import Mapping

from datasets import ClassLabel, Dataset, Features, Image, Value

from bc_sam.config.labels import ERYTHROID_LABELS, LABELS
from bc_sam.data.cells import FEATURES, features_of
from bc_sam.data.groups import archive_groups
from bc_sam.data.names.label_map import LabelMap, resolve_labels
from bc_sam.data.reading_options import ReadingOptions
from bc_sam.data.tables_of_cells import COLUMN_NAMES, find_columns
from bc_sam.errors import DataError

# Erythroid cells are the only other label set; their labels are kept.
_ERYTHROID = features_of(ERYTHROID_LABELS)

_DEFAULT = ReadingOptions()
_SHOWN = 20

# Columns that give the names of numbered classes.
_NAMES_BESIDE_NUMBERS = ("label_name", "label_text", "class_name", "cell_type", "cell_class", "class", "label_str")

logger = logging.getLogger(__name__)


def conform(
    dataset: Dataset,
    domain: str,
    label_map: Mapping[str, str | None] | None = None,
    options: ReadingOptions = _DEFAULT,
) -> Dataset:
    """Converts any data set with a column of images to the columns `bc_sam.data.cells.FEATURES`.

    Columns are found by name: ``image``, or the only one with images; ``label`` and ``group`` under the names of
    `bc_sam.data.tables_of_cells.COLUMN_NAMES`. Classes are mapped by name, never by index, since data sets may order
    them differently. Other columns are dropped; missing ones are filled with ``None``, and `domain` with the given
    name.

    Args:
        dataset: Data set whose labels are class names, a `ClassLabel`, or numbers that `label_map` maps as text.
        domain: Name of the laboratory, used if the data set has no column `domain`.
        label_map: As for `load_cells`.
        options: Columns, pattern of groups, and whether labels are read.

    Raises:
        DataError: If there is no column of images, or labels are unnamed indices or unknown names.
    """
    given = LabelMap.of(label_map)
    dataset = _rename(dataset, domain, options)
    for column in ("image", "mask"):
        if column in dataset.column_names and not isinstance(dataset.features[column], Image):
            dataset = _cast_image(dataset, column, domain)
    features = FEATURES
    if not options.labelled and "label" in dataset.column_names:
        dataset = dataset.remove_columns("label")
    if "label" in dataset.column_names and dataset.features["label"] == _ERYTHROID["label"]:
        features = _ERYTHROID
    elif "label" in dataset.column_names and (given or dataset.features["label"] != FEATURES["label"]):
        dataset = _canonical_labels(dataset, domain, given)
    if options.group_pattern:
        dataset = _with_groups(dataset, domain, options.group_pattern)
    for column, feature in FEATURES.items():
        if column not in dataset.column_names:
            fill = domain if column == "domain" else None
            dataset = dataset.add_column(column, [fill] * len(dataset), feature=feature)
    if given is not label_map:
        given.require_used()
    dataset = dataset.select_columns(list(FEATURES))
    return dataset if dataset.features == features else dataset.cast(features)


def _rename(dataset: Dataset, domain: str, options: ReadingOptions) -> Dataset:
    """Gives the columns of images, labels, groups and files their names, and says which were taken."""
    roles = find_roles(dataset.features, domain, options.columns)
    if not options.labelled:
        roles.pop("label", None)
    taken = {role: name for role, name in roles.items() if role != name}
    if taken:
        chosen = ", ".join(f"{role}={name}" for role, name in taken.items())
        logger.info("%s: the columns %s are read. Others can be named with --column.", domain, chosen)
    unused = [role for role in taken if role in dataset.column_names]
    return dataset.remove_columns(unused).rename_columns({name: role for role, name in taken.items()})


def find_roles(features: Features, domain: str, given: Mapping[str, str]) -> dict[str, str]:
    """Returns the column of ``image``, and of ``file``, ``label``, ``group`` and ``mask`` if there is one.

    Args:
        features: Columns of a data set.
        domain: Its name, for messages.
        given: Columns that the user names.

    Raises:
        DataError: If there is no column of images, several, or not the one that is given.

    Example:
        >>> find_roles(Features({"picture": Image(), "cell_type": Value("string")}), "site_7", {})
        {'image': 'picture', 'label': 'cell_type'}
    """
    names = list(features)
    for role, name in given.items():
        if name not in names:
            raise DataError(f"{domain} has no column {name!r}, but {', '.join(names)}. Correct --column {role}=.")
    image = given.get("image") or _image_column(features, domain)
    rest = [name for name in names if name != image and is_plain(features[name])]
    named = {role: name for role, name in given.items() if role in COLUMN_NAMES}
    roles = {"image": image, **find_columns(rest, named, where=domain)}
    label = roles.get("label")
    if label and "label" not in given and _is_number(features[label]):
        # A column of names beside the numbers says what they mean.
        roles["label"] = next((n for n in rest if n in _NAMES_BESIDE_NUMBERS and not _is_number(features[n])), label)
    mask = given.get("mask", "mask")
    roles |= {"mask": mask} if mask in names else {}
    # The column file is that of images if nothing else is.
    return {role: name for role, name in roles.items() if role == "image" or name != image}


def require_named_classes(features: Features, domain: str, options: ReadingOptions) -> None:
    """Checks, before a row is read, that numbers are not the only names of classes.

    Args:
        features: Columns of a data set.
        domain: Its name, for messages.
        options: Columns, and the names that the user gives to numbers.

    Raises:
        DataError: If the labels are numbers, and nothing says what they mean.
    """
    label = find_roles(features, domain, options.columns).get("label")
    if options.labelled and label and not options.label_map and _is_number(features[label]):
        raise DataError(
            f"The labels of {domain}, in the column {label}, are {features[label].dtype}, not class names. Say what "
            "they mean: --map 0=CLASS --map 1=CLASS, and so on, or name a column of names with --column label=NAME."
        )


def _image_column(features: Features, domain: str) -> str:
    names = list(features)
    with_images = [name for name in names if isinstance(features[name], Image) and name != "mask"]
    if "image" in names:
        return "image"
    if len(with_images) == 1:
        return with_images[0]
    found = ", ".join(names)
    several = f"the columns {', '.join(with_images)} with images" if with_images else "no column image"
    raise DataError(
        f"{domain} has the columns {found}, but {several}. Name the image column with --column image=NAME, or rename "
        "it to image."
    )


def is_plain(feature: object) -> bool:
    """Whether a column holds a class, a text or a number in each row."""
    return isinstance(feature, ClassLabel) or (isinstance(feature, Value) and not feature.dtype.endswith("binary"))


def _is_number(feature: object) -> bool:
    return isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "float", "bool"))


def _with_groups(dataset: Dataset, domain: str, pattern: str) -> Dataset:
    files = dataset["file"][:] if "file" in dataset.column_names else []
    if not any(files):
        logger.warning("%s: no column of files, in which the group pattern could be searched.", domain)
        return dataset
    groups = archive_groups([str(file or "") for file in files], pattern, where=domain)
    if not any(groups):
        return dataset
    if "group" in dataset.column_names:
        dataset = dataset.remove_columns("group")
    return dataset.add_column("group", groups, feature=FEATURES["group"])


def _cast_image(dataset: Dataset, column: str, domain: str) -> Dataset:
    try:
        return dataset.cast_column(column, Image())
    except (TypeError, ValueError, NotImplementedError) as error:
        dtype = getattr(dataset.features[column], "dtype", dataset.features[column])
        message = f"Column {column} of {domain} contains {dtype}, not images. Store paths, bytes or datasets.Image."
        raise DataError(message) from error


def _canonical_labels(dataset: Dataset, domain: str, label_map: LabelMap) -> Dataset:
    names = _label_names(dataset, domain, label_map)
    present = sorted({name for name in names if name is not None})
    labels = resolve_labels(present, label_map, where=domain)
    kept = [i for i, name in enumerate(names) if name is None or labels[name] is not None]
    if len(kept) < len(names):
        left_out = Counter(name for name in names if name is not None and labels[name] is None)
        counts = ", ".join(f"{name} {count}" for name, count in sorted(left_out.items()))
        logger.info("%s: %d of %d cells excluded by the label map: %s.", domain, left_out.total(), len(names), counts)
        dataset = dataset.select(kept)
    indices = {None: None} | {name: LABELS.index(label) for name, label in labels.items() if label is not None}
    canonical = [indices[names[i]] for i in kept]
    return dataset.remove_columns("label").add_column("label", canonical, feature=FEATURES["label"])


def _label_names(dataset: Dataset, domain: str, given: LabelMap) -> list[str | None]:
    """Returns the class name of each row, or ``None`` for unlabelled rows, which some data sets encode as -1."""
    feature, values = dataset.features["label"], dataset["label"][:]
    if isinstance(feature, ClassLabel):
        return [None if value is None or value < 0 else feature.names[value] for value in values]
    if _is_number(feature):
        numbers = [None if value is None or value < 0 else f"{value:g}" for value in values]
        if not any(name in given for name in set(numbers) if name is not None):
            found = sorted({name for name in numbers if name is not None}, key=float)
            pairs = " ".join(f"--map {name}=CLASS" for name in found[:_SHOWN])
            raise DataError(
                f"The labels of {domain} are {feature.dtype}, not class names. Say what they mean: {pairs}, or name a "
                "column of names with --column label=NAME."
            )
        return numbers
    dtype = getattr(feature, "dtype", feature)
    if dtype not in ("string", "large_string"):
        raise DataError(
            f"The labels of {domain} are {dtype}, not class names. Store names or a ClassLabel, or name another "
            "column with --column label=NAME."
        )
    return [value or None for value in values]
