"""Reading of CSV files with named columns."""

import csv
from collections.abc import Sequence
from pathlib import Path

from bc_sam.errors import DataError


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Reads the given columns of a CSV file.

    Args:
        path: The file, UTF-8 with or without a byte order mark. Its first line names the columns.
        columns: Required columns; others are ignored.

    Returns:
        The rows in order, by column. Fields that a short row lacks are empty. The first row is on line 2 of the file,
        unless a quoted field spans several lines.

    Raises:
        DataError: If the file cannot be read or lacks a column.

    Example:
        ``read_csv(Path("pairs.csv"), ("image", "mask"))[0]["mask"]``
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise DataError(f"{path} is a folder or a device, not a CSV file. Check the path.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="")
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            rows = [] if missing else [{column: row[column] for column in columns} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}. Check the path and the file.") from error
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}. Its first line must read {','.join(columns)}.")
    return rows
