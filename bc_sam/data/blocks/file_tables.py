"""Tables that name image files and, if wanted, the ids of their cells: CSV, TSV and JSON lines."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from bc_sam.data.blocks.stores import StoredFile, file_on_disk, is_url
from bc_sam.data.file_search import find_images
from bc_sam.data.tables_of_cells import TABLE_SUFFIXES, read_tables
from bc_sam.errors import DataError


def is_file_table(source: str) -> bool:
    """Whether a source is such a table.

    Raises:
        DataError: If it is one in a store.
    """
    if PurePosixPath(source).suffix.lower() not in TABLE_SUFFIXES:
        return False
    if is_url(source):
        raise DataError(f"{source} names files; such tables are read from a disk only. Give the folder of the images.")
    return Path(source).is_file()


def list_table(path: Path, columns: Mapping[str, str]) -> list[StoredFile]:
    """Lists the images beside or below a table that it names, in its order, each once.

    Rows that name no image are counted in a warning.

    Args:
        path: The table.
        columns: Columns of ``file`` and ``id``; by default, the former is found by its name, and there are no ids.

    Raises:
        DataError: See `bc_sam.data.tables_of_cells.read_tables`.
    """
    root = path.parent
    images = [file.relative_to(root).as_posix() for file in find_images(root)]
    table = read_tables([path], root, images, columns, labelled=False)
    return [file_on_disk(root / name, name, table.ids.get(name, "")) for name in table.labels]
