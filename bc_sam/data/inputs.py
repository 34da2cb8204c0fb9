"""The cells that a user names: image files, folders, patterns, parquet sets, data sets on the Hub."""

from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bc_sam.data.images import IMAGE_SUFFIXES, find_images
from bc_sam.errors import DataError
from bc_sam.utils.hub import is_hub_id

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class NamedCells:
    """Cells to be named.

    Attributes:
        names: What to call each: the path of its file, or its name in its data set.
        images: The images, in the same order, in a form that `bc_sam.data.images.read_image` takes.
    """

    names: list[str]
    images: Iterable[Any]

    def __len__(self) -> int:
        return len(self.names)


def find_cells(sources: Iterable[str]) -> NamedCells:
    """Lists the cells that some files, folders, patterns, parquet sets and Hub data set ids stand for.

    A file that several of them stand for is listed once.

    Raises:
        DataError: If one of them stands for nothing, or is a model.
    """
    names: list[str] = []
    images: list[Iterable[Any]] = []
    for source in sources:
        path = Path(source)
        if any((path / name).exists() for name in ("run.json", "adaptation.json", "adapter/adapter_config.json")):
            raise DataError(f"{source} is a model, not cells. Say: bc-sam predict CELLS --model {source}")
        on_hub = is_hub_id(source) and path.suffix.lower() not in IMAGE_SUFFIXES
        if on_hub or path.suffix == ".parquet" or (path.is_dir() and any(path.rglob("*.parquet"))):
            dataset = _load_undecoded(source)
            names += dataset["file"]
            images.append(dataset["image"])
        else:
            known = set(names)
            files = [file for file in _find_files(source) if str(file) not in known]
            names += map(str, files)
            images.append(files)
    return NamedCells(names, chain.from_iterable(images))


def _load_undecoded(source: str) -> "Dataset":
    from datasets import Image

    from bc_sam.data import load_cells

    return load_cells(f"cells={source}").cast_column("image", Image(decode=False))


def _find_files(source: str) -> list[Path]:
    """The image files of a file, of a folder, or of the files and folders that a pattern matches."""
    matches = [source] if Path(source).exists() else sorted(glob(source, recursive=True))
    files = dict.fromkeys(
        file for match in map(Path, matches) for file in (find_images(match) if match.is_dir() else [match])
    )
    if not files:
        raise DataError(f"There is no image {source}. Give image files, folders, or a pattern in quotes.")
    return list(files)
