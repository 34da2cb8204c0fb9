"""CSV files that a spreadsheet opens without running anything in them."""

import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from bc_sam.utils.atomic import written_aside
from bc_sam.utils.display import as_utf8

# Some spreadsheets take a cell that starts with one of these for a formula. A semicolon separates cells where a comma
# separates decimals; line breaks and tabs may, too.
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=[=+\-@;\t\r\n\uff0b\uff0d\uff1d\uff20])")


class GuardedCsv:
    r"""Writes rows of text, in which nothing is a formula.

    Args:
        file: Text file opened with ``newline=""``, such as by `open_csv`.

    Example:
        >>> import io
        >>> file = io.StringIO()
        >>> GuardedCsv(file).write(["=1+2.png", "monocyte"])
        >>> file.getvalue()
        "'=1+2.png,monocyte\r\n"
    """

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file)

    def write(self, row: Iterable[str]) -> None:
        """Writes a row. An apostrophe precedes whatever a spreadsheet could take for a formula or a separator."""
        self._writer.writerow([_FORMULA.sub(r"\1'", as_utf8(text)) for text in row])


@contextmanager
def open_csv(path: Path) -> Iterator[TextIO]:
    """Opens a CSV file for writing, in UTF-8 whatever the locale; see `bc_sam.utils.atomic.written_aside`."""
    with written_aside(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        yield file
