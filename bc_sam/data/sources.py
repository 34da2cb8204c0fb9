"""Loads cells from any source, given as ``NAME=SOURCE``, and saves them as parquet."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetsError
from datasets.table import embed_table_storage
from pyarrow import parquet
from tqdm import tqdm

from bc_sam.data.cells import FEATURES
from bc_sam.data.columns import conform
from bc_sam.data.datasets.acevedo import ACEVEDO20, load_acevedo20, looks_like_acevedo20
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.datasets.bccd import BCCD, load_bccd, looks_like_bccd
from bc_sam.data.datasets.bmec import BMEC, load_bmec, looks_like_bmec
from bc_sam.data.datasets.image_folder import load_folder
from bc_sam.data.datasets.matek import MATEK19, load_matek19, looks_like_matek19
from bc_sam.data.datasets.rendered import RENDERED, load_rendered
from bc_sam.data.provenance import Provenance
from bc_sam.errors import DataError
from bc_sam.utils.atomic import folder_written_aside
from bc_sam.utils.hub_id import reads_as_hub_id


@dataclass(frozen=True)
class PublicDataset:
    """A published data set that `load_cells` recognizes by the layout of its archive.

    Attributes:
        provenance: Authors, licence and reference.
        matches: Whether a folder of images has the layout of the archive.
        load: Loader, called with the folder, ``domain=`` and the options in `takes`.
        takes: Options of `load_cells` that the loader accepts.
    """

    provenance: Provenance
    matches: Callable[[Path], bool]
    load: Callable[..., Dataset]
    takes: tuple[str, ...] = ("masks",)


#: Public data sets by name, in the order in which their layouts are tried. To add one, write a loader in
#: `bc_sam.data.datasets` and register it here, which also enables ``NAME:FOLDER``.
PUBLIC_DATASETS: dict[str, PublicDataset] = {
    "matek19": PublicDataset(MATEK19, looks_like_matek19, load_matek19),
    "acevedo20": PublicDataset(ACEVEDO20, looks_like_acevedo20, load_acevedo20),
    "bmec": PublicDataset(BMEC, looks_like_bmec, load_bmec, takes=("masks", "label_map", "group_pattern")),
    "bccd": PublicDataset(BCCD, looks_like_bccd, load_bccd, takes=("label_map",)),
}

_RENDERED = re.compile(r"rendered:([^:]+)(?::(\d+)(?::(\d+))?)?")
# A shard is built in memory (0.6 MB per image of Matek-19). Small row groups let viewers read single rows.
_ROWS_PER_SHARD = 500
_ROWS_PER_GROUP = 100


def load_cells(
    spec: str,
    *,
    masks: str | Path | None = None,
    label_map: Mapping[str, str | None] | None = None,
    group_pattern: str | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Dataset:
    """Loads the cells of one domain from a folder, zip, parquet file, the Hub, or the renderer.

    A folder or zip with the layout of one of `PUBLIC_DATASETS` is read by its loader: folders named by codes are
    Matek-19, files prefixed by codes Acevedo-20, folders named by erythroid stages BMEC, and a folder ``fields``
    beside ``boxes.csv`` BCCD. All others are read by `load_folder`. ``bmec:FOLDER`` selects the BMEC loader regardless
    of the layout.

    Args:
        spec: ``NAME=SOURCE``. NAME is the domain. SOURCE is a folder of images, a zip of one, a parquet file, a folder
            of parquet files, a data set id on the Hub, or ``rendered:LABORATORY[:CELLS_PER_CLASS[:SEED]]``.
        masks: CSV that assigns masks to images, for folders; see `bc_sam.data.annotated_masks.match_masks`.
        label_map: Maps unknown class names to canonical ones, or to ``None`` to exclude them; for folders, parquet and
            the Hub.
        group_pattern: Regular expression that extracts the slide from a file name, for folders.
        revision: Branch, tag or commit of a data set on the Hub.
        token: Hub access token; by default the stored one.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`. All splits of a Hub data set are concatenated.

    Raises:
        DataError: If the specification is invalid, or the source does not exist or contains no cells.

    Example:
        >>> load_cells("site_7=rendered:munich:1").column_names
        ['image', 'label', 'domain', 'mask', 'group', 'file']
    """
    name, separator, source = spec.partition("=")
    if not (name and separator and source):
        raise DataError(f"{spec!r} is not NAME=SOURCE, such as site_7=path/to/folder. SOURCE is {_source_types()}.")
    if source.startswith("rendered:"):
        return _load_rendered(name, source)
    options = {"masks": masks, "label_map": label_map, "group_pattern": group_pattern}
    dataset, _, folder = source.partition(":")
    if dataset in PUBLIC_DATASETS and folder:
        return _load_public(PUBLIC_DATASETS[dataset], Path(folder).expanduser(), name, options)
    path = Path(source).expanduser()
    if path.is_dir() and any(path.rglob("*.parquet")):
        return conform(_load_parquet(sorted(path.rglob("*.parquet"))), name, label_map)
    if path.suffix == ".parquet" and path.is_file():
        return conform(_load_parquet([path]), name, label_map)
    if path.exists():
        return _load_images(as_folder(path), name, options)
    if reads_as_hub_id(source):
        return conform(_load_hub(source, revision, token), name, label_map)
    raise DataError(f"The source {source!r} of {name} does not exist. Give {_source_types()}.")


def _source_types() -> str:
    public = ", ".join(f"{name}:FOLDER" for name in PUBLIC_DATASETS)
    return (
        "a folder of images, a zip of one, a parquet file, a folder of parquet files, the id of a data set on the Hub "
        f"(org/name), {public}, or rendered:LABORATORY[:CELLS_PER_CLASS[:SEED]]"
    )


def save_parquet(dataset: Dataset, folder: str | Path) -> None:
    """Writes a data set as self-contained parquet shards that include the bytes of images and masks.

    Both `load_cells` and `datasets.load_dataset` read them.

    Args:
        dataset: Any data set of cells.
        folder: New or empty folder. It is created only when all shards are complete.

    Raises:
        DataError: If the folder is not empty, the data set is empty, or an image file no longer exists.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder. Give a new folder, or remove it.")
    if not len(dataset):
        raise DataError(f"The data set is empty; nothing was written to {folder}. Give a data set with images.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with folder_written_aside(folder) as partial:
            write_shards(dataset, partial, "train")
    except FileNotFoundError as error:
        raise DataError(f"A file of the data set no longer exists: {error}. Load the data set again.") from error


def write_shards(dataset: Dataset, folder: Path, split: str) -> None:
    """Writes one split as parquet shards of at most 500 rows that include the bytes of its images."""
    n_shards = -(-len(dataset) // _ROWS_PER_SHARD)
    for index in tqdm(range(n_shards), desc=f"Writing {split}", unit="shard"):
        shard = dataset.shard(n_shards, index, contiguous=True)
        table = embed_table_storage(shard.with_format("arrow")[:])
        path = folder / f"{split}-{index:05d}-of-{n_shards:05d}.parquet"
        parquet.write_table(table, path, row_group_size=_ROWS_PER_GROUP)


def _load_rendered(name: str, source: str) -> Dataset:
    match = _RENDERED.fullmatch(source)
    if match is None:
        raise DataError(f"{source!r} is not rendered:LABORATORY[:CELLS_PER_CLASS[:SEED]]. Try rendered:munich:20:0.")
    laboratory, cells_per_class, seed = match.groups()
    dataset = load_rendered(laboratory, cells_per_class=int(cells_per_class or 20), seed=int(seed or 0))
    domains = [name] * len(dataset)
    dataset = dataset.remove_columns("domain").add_column("domain", domains, feature=FEATURES["domain"])
    return dataset.select_columns(list(FEATURES))


def _load_images(folder: Path, name: str, options: Mapping[str, Any]) -> Dataset:
    for dataset in PUBLIC_DATASETS.values():
        if dataset.matches(folder):
            return _load_public(dataset, folder, name, options)
    return load_folder(folder, domain=name, **options)


def _load_public(dataset: PublicDataset, folder: Path, name: str, options: Mapping[str, Any]) -> Dataset:
    return dataset.load(folder, domain=name, **{option: options[option] for option in dataset.takes})


def _load_parquet(paths: list[Path]) -> Dataset:
    try:
        return load_dataset("parquet", data_files=[str(path) for path in paths], split="train")
    except (DatasetsError, OSError, ValueError) as error:
        raise DataError(f"{paths[0]} cannot be read as parquet: {error}. Save or download it again.") from error


def _load_hub(source: str, revision: str | None, token: str | None) -> Dataset:
    try:
        splits = load_dataset(source, revision=revision, token=token)
        return concatenate_datasets(list(splits.values()))
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{source} is not a local path and cannot be loaded from the Hub: {error}. Check the name, the connection "
            f"and the token, or give {_source_types()}."
        ) from error


def provenance_of(dataset: "Dataset") -> Provenance | None:
    """Returns the provenance of a data set, or ``None`` if unknown.

    Example:
        >>> from bc_sam.data import load_rendered
        >>> provenance_of(load_rendered("munich", cells_per_class=1)).title
        'Rendered cells'
    """
    candidates = (RENDERED, *(public.provenance for public in PUBLIC_DATASETS.values()))
    return next((candidate for candidate in candidates if candidate.homepage == dataset.info.homepage), None)
