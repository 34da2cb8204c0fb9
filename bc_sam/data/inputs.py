"""Resolves the inputs of a prediction: image files, folders, zips, patterns, tables, parquet and Hub data sets."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from glob import glob
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bc_sam.data.file_search import IMAGE_SUFFIXES, count_other_files, find_images
from bc_sam.data.reading_options import Layout
from bc_sam.data.tables_of_cells import TABLE_SUFFIXES, read_tables
from bc_sam.errors import DataError
from bc_sam.utils.display import as_utf8
from bc_sam.utils.model_source import is_hub_id

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class NamedCells:
    """Cells to predict, with their names.

    Attributes:
        names: Name of each cell: its path, or its file name in a data set, or ``SOURCE[ROW]`` if that has none.
        images: The images in the same order, as accepted by `bc_sam.data.images.read_image`.
        other_files: Number of files in the folders and zips that are not images, by suffix.
    """

    names: list[str]
    images: Iterable[Any]
    other_files: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)


def find_cells(sources: Iterable[str], layout: Layout | None = None) -> NamedCells:
    """Finds the cells of files, folders, zips, glob patterns, tables, parquet and Hub data sets. Labels are not read.

    A file that several sources match is listed once.

    Args:
        sources: The sources.
        layout: Config, split and columns of tables, parquet files and data sets on the Hub.

    Raises:
        DataError: If a source or an option matches nothing, or a source is a model.
    """
    layout = layout or Layout()
    names: list[str] = []
    images: list[Iterable[Any]] = []
    has_table = has_configs = False
    others: Counter[str] = Counter()
    for source in sources:
        if not source:
            raise DataError(
                "An empty path was given as a source of cells. Give image files, folders, or . for this one."
            )
        path = Path(source)
        if any((path / name).exists() for name in ("run.json", "adaptation.json", "adapter/adapter_config.json")):
            raise DataError(f"{source} is a model, not a source of cells. Run: bc-sam predict CELLS --model {source}")
        on_hub = is_hub_id(source) and path.suffix.lower() not in IMAGE_SUFFIXES
        if on_hub or path.suffix.lower() == ".parquet" or (path.is_dir() and any(path.rglob("*.parquet"))):
            has_table = has_configs = True
            dataset = _load_undecoded(source, layout)
            names += [as_utf8(name) if name else f"{source}[{row}]" for row, name in enumerate(dataset["file"])]
            images.append(dataset["image"])
        elif path.suffix.lower() == ".zip" and path.is_file():
            folder = _unpacked(path)
            inside = find_images(folder)
            if not inside:
                raise DataError(f"No images found in {source}. Give an archive of images.")
            inside = _of_split(inside, layout.split, source)
            names += [f"{source}/{file.relative_to(folder).as_posix()}" for file in inside]
            images.append(inside)
            others += count_other_files(folder)
        elif path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
            has_table = True
            files = _of_split(_files_of_table(path, layout), layout.split, source)
            names += map(str, files)
            images.append(files)
        else:
            listed = set(names)
            files = [file for file in _of_split(_find_files(source), layout.split, source) if str(file) not in listed]
            names += map(str, files)
            images.append(files)
            others += count_other_files(path) if path.is_dir() else Counter()
    if layout.columns and not has_table:
        raise DataError("--column has no effect on image files. Give a table or a data set with columns, or omit it.")
    if layout.config and not has_configs:
        raise DataError("--config has no effect on image files. Give a data set that has configs, or omit it.")
    # Sequences can be sampled evenly. The column of a data set is one, too, but would not fit in memory as a list.
    if len(images) == 1:
        return NamedCells(names, images[0], others)
    if all(isinstance(part, list) for part in images):
        return NamedCells(names, list(chain.from_iterable(images)), others)
    return NamedCells(names, chain.from_iterable(images), others)


def _load_undecoded(source: str, layout: Layout) -> "Dataset":
    from datasets import Image

    from bc_sam.data import load_cells

    return load_cells(f"cells={source}", labelled=False, **vars(layout)).cast_column("image", Image(decode=False))


def _of_split(files: list[Path], split: str | None, source: str) -> list[Path]:
    """Returns the files in folders with the name of the split; all without one."""
    if split is None:
        return files
    chosen = [file for file in files if split.casefold() in (part.casefold() for part in file.parts[:-1])]
    if not chosen:
        raise DataError(f"{source} has no images in a folder {split!r}. Correct or omit --split.")
    return chosen


def _files_of_table(path: Path, layout: Layout) -> list[Path]:
    """Returns the images beside or below a table that it names, in its order."""
    root = path.parent
    files = [file.relative_to(root).as_posix() for file in find_images(root)]
    table = read_tables([path], root, files, layout.columns, labelled=False)
    return [root / file for file in table.labels]


def _unpacked(archive: Path) -> Path:
    from bc_sam.data.datasets.archives import as_folder

    return as_folder(archive)


def _find_files(source: str) -> list[Path]:
    """Returns the image files of a file, a folder, or the files and folders that a glob pattern matches."""
    matches = [source] if Path(source).exists() else sorted(glob(source, recursive=True))
    files = dict.fromkeys(
        file for match in map(Path, matches) for file in (find_images(match) if match.is_dir() else [match])
    )
    if not files:
        raise DataError(f"No images found at {source}. Give image files, folders, or a quoted glob pattern.")
    return list(files)
