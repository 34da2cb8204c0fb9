"""Tables that name image files with their labels and patients: CSV, TSV and JSON lines."""

import csv
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bc_sam.config.labels import KINDS_BY_HAND, NO_WHITE_CELL
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)

#: Names under which each column is found, in the order of preference. Case, spaces, underscores and hyphens do not
#: count.
COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "file": (
        *("file_name", "file", "filename", "path", "filepath", "image_path", "image", "image_name", "img", "img_name"),
        *("image_file", "image_id", "img_path", "datei", "fichier", "archivo", "id"),
    ),
    "label": (
        *("label", "labels", "class", "class_name", "cell_type", "cell_class", "category", "celltype", "diagnosis"),
        *("klasse", "zelltyp", "classe", "clase", "target", "cls"),
    ),
    "group": (
        *("group", "patient", "patient_id", "slide", "slide_id", "case", "case_id", "subject", "subject_id", "donor"),
        *("patient_hash", "patient_name", "smear", "smear_id", "patientin", "paciente"),
    ),
}

#: Columns of the tables that ``bc-sam predict --csv`` and the page write. Only names by hand are labels.
_PREDICTIONS = {"name", "likeliest", "given_by", "ood"}
_BY_HAND = "hand"

#: File-name suffixes of tables.
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
_METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl")


@dataclass(frozen=True)
class TableOfCells:
    """Rows of one or more tables, by the resolved path of the image.

    Attributes:
        paths: The table files.
        labels: Class name of each image as in the table, or ``None`` if it has none.
        groups: Patient or slide of each image, or ``None`` if unknown.
        missing: Names in the table for which there is no image.
        ids: The id of each image, if a column of ids was given.
        has_labels: Whether there is a column of labels.
    """

    paths: list[Path]
    labels: dict[str, str | None] = field(default_factory=dict)
    groups: dict[str, str | None] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    has_labels: bool = False
    ids: dict[str, str] = field(default_factory=dict)


def find_tables(root: Path, candidates: Sequence[Path]) -> list[Path]:
    """Returns the tables of a folder: every ``metadata.csv`` or ``.jsonl``, or else the only one with file and label.

    Args:
        root: Folder of the images.
        candidates: The files below it.
    """
    named = [path for path in candidates if path.name.lower() in _METADATA]
    if named:
        return named
    tables = [path for path in candidates if path.parent == root and path.suffix.lower() in TABLE_SUFFIXES]
    fitting = [path for path in tables if _fits(path)]
    if len(fitting) > 1:
        logger.warning(
            "%s has several tables with files and labels, of which none is used: %s. Give one as the source, or name "
            "it metadata.csv.",
            root,
            ", ".join(path.name for path in fitting),
        )
    return fitting if len(fitting) == 1 else []


def read_tables(
    paths: Sequence[Path],
    root: Path,
    files: Sequence[str],
    columns: Mapping[str, str] | None = None,
    *,
    labelled: bool = True,
) -> TableOfCells:
    """Reads tables and matches their rows with images.

    A file is given relative to its table or to `root`, with slashes or backslashes, or by its name alone, with or
    without suffix, if that is unambiguous. Of a table of predictions, the names that were given by hand are labels.

    Args:
        paths: The tables.
        root: Folder of the images.
        files: Images relative to `root`, with forward slashes.
        columns: Column of the table for ``file``, ``label`` and ``group``, by default found by `COLUMN_NAMES`; and for
            ``id``, by default none.
        labelled: Whether labels are read.

    Raises:
        DataError: If a table cannot be read, has no column of files, matches no image, gives one image two labels or
            ids, or two images one id.
    """
    index = FileIndex(files)
    table = TableOfCells(list(paths))
    has_labels = False
    for path in paths:
        names, rows = _read(path)
        chosen = find_columns(names, columns, where=str(path))
        if "file" not in chosen:
            raise DataError(
                f"{path} has the columns {', '.join(names)}, but none of image files. Add --column file=NAME."
            )
        id_column = (columns or {}).get("id")
        if id_column is not None and id_column not in names:
            raise DataError(f"{path} has no column {id_column!r}, but {', '.join(names)}. Correct --column id=.")
        by_hand = set(names) >= _PREDICTIONS and "label" not in (columns or {})
        if by_hand:
            chosen["label"] = "name"
            rows = [row if row["given_by"] == _BY_HAND else row | {"name": ""} for row in rows]
            n = sum(row["given_by"] == _BY_HAND for row in rows)
            logger.info("%s holds predictions: %d of %d cells are named by hand, the labels.", path, n, len(rows))
            rows = _without(rows, path)
        if not labelled:
            chosen.pop("label", None)
        has_labels |= "label" in chosen
        prefix = path.parent.relative_to(root).as_posix() if path.parent.is_relative_to(root) else "."
        for line, row in enumerate(rows, start=2):
            name = row[chosen["file"]].strip().replace("\\", "/")
            file = index.find(name, prefix)
            if file is None:
                table.missing.append(name)
                continue
            label = _label(row[chosen["label"]]) if "label" in chosen else None
            if file in table.labels and table.labels[file] != label:
                raise DataError(f"{path} gives {file} a second label, {label}, in line {line}. Leave one row for it.")
            table.labels[file] = label
            table.groups[file] = row[chosen["group"]].strip() or None if "group" in chosen else None
            if id_column is not None:
                cell_id = row[id_column].strip()
                if table.ids.setdefault(file, cell_id) != cell_id:
                    raise DataError(
                        f"{path} gives {file} a second id, {cell_id}, in line {line}. Leave one row for it."
                    )
    if not table.labels:
        example = f", such as {table.missing[0]!r}" if table.missing else ""
        raise DataError(
            f"{', '.join(map(str, paths))} names none of the images below {root}{example}. Correct its file names."
        )
    if table.missing:
        logger.warning(
            "%s: %d rows name no image below %s, such as %s.", paths[0], len(table.missing), root, table.missing[0]
        )
    _require_distinct(table.ids, paths[0])
    return TableOfCells(table.paths, table.labels, table.groups, table.missing, has_labels, table.ids)


def find_columns(names: Sequence[str], given: Mapping[str, str] | None, *, where: str) -> dict[str, str]:
    """Returns the column for each of ``file``, ``label`` and ``group`` that a table has.

    Args:
        names: Columns of the table.
        given: Columns that the user names, by role; other roles are ignored.
        where: The table, for messages.

    Raises:
        DataError: If a given column does not exist.

    Example:
        >>> find_columns(["File Name", "label", "patient"], None, where="x")
        {'file': 'File Name', 'label': 'label', 'group': 'patient'}
    """
    by_key = {_key(name): name for name in reversed(names)}
    chosen = {}
    for role, aliases in COLUMN_NAMES.items():
        wanted = (given or {}).get(role)
        if wanted is not None:
            if wanted not in names:
                raise DataError(f"{where} has no column {wanted!r}, but {', '.join(names)}. Correct --column {role}=.")
            chosen[role] = wanted
        else:
            taken = set((given or {}).values())
            found = [by_key[_key(alias)] for alias in aliases if _key(alias) in by_key]
            if found and found[0] not in taken:
                chosen[role] = found[0]
    return chosen


class FileIndex:
    """Finds files by path, and by name or stem where that is unambiguous.

    Args:
        files: Paths with forward slashes, relative to a common folder.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = set(files)
        self._by_name: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for file in files:
            path = PurePosixPath(file)
            for key in {path.name, path.stem, path.with_suffix("").as_posix()}:
                counts[key] += 1
                self._by_name[key] = file
        self._by_name = {key: file for key, file in self._by_name.items() if counts[key] == 1}

    def find(self, name: str, prefix: str) -> str | None:
        """Returns the file of a name that is relative to `prefix`, or to the common folder, or ``None``."""
        parts = [part for part in PurePosixPath(name).parts if part not in (".", "/")]
        for candidate in (PurePosixPath(prefix, *parts), PurePosixPath(*parts)):
            if candidate.as_posix() in self._files:
                return candidate.as_posix()
        suffixes = ("/".join(parts[i:]) for i in range(1, len(parts)))
        inside = next((suffix for suffix in suffixes if suffix in self._files), None)
        return inside or self._by_name.get("/".join(parts)) or (self._by_name.get(parts[-1]) if parts else None)


def _require_distinct(ids: Mapping[str, str], path: Path) -> None:
    files: dict[str, str] = {}
    for file, cell_id in ids.items():
        if not cell_id:
            raise DataError(f"{path} gives {file} no id. Complete the column, or omit --column id=.")
        if (other := files.setdefault(cell_id, file)) != file:
            raise DataError(
                f"{path} gives both {other} and {file} the id {cell_id}. Name a column of distinct ids, or omit "
                "--column id=."
            )


def _without(rows: list[dict[str, str]], path: Path) -> list[dict[str, str]]:
    """Leaves out of a table of predictions what a person gave a name that is no class of a model."""
    kept = [row for row in rows if row["name"] not in (*NO_WHITE_CELL, *KINDS_BY_HAND)]
    if len(kept) < len(rows):
        names = ", ".join(sorted({row["name"] for row in rows} & {*NO_WHITE_CELL, *KINDS_BY_HAND}))
        left_out = len(rows) - len(kept)
        logger.info("%s: %d of %d images left out, named by hand: %s.", path, left_out, len(rows), names)
    return kept


def _fits(path: Path) -> bool:
    try:
        names, _ = _read(path, only_header=True)
    except DataError:
        return False
    if set(names) >= _PREDICTIONS:
        return False
    return {"file", "label"} <= find_columns(names, None, where=str(path)).keys()


def _read(path: Path, *, only_header: bool = False) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the columns and rows of a table, whose separator is a comma, semicolon or tab."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        logger.warning("%s is not UTF-8, and is read as Latin-1.", path)
        text = path.read_text(encoding="cp1252", errors="replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}. Check the path.") from error
    lines = text.splitlines(keepends=True)
    try:
        if path.suffix.lower() == ".jsonl":
            objects = [json.loads(line) for line in lines if line.strip()]
            names = list(dict.fromkeys(name for row in objects for name in row))
            return names, [{name: _text(row.get(name)) for name in names} for row in objects]
        header = lines[0] if lines else ""
        separator = max(",;\t", key=header.count)
        reader = csv.DictReader(lines[:1] if only_header else lines, restval="", delimiter=separator)
        rows = [{name: _text(row[name]) for name in reader.fieldnames or ()} for row in reader]
        return list(reader.fieldnames or ()), rows
    except (csv.Error, ValueError, AttributeError) as error:
        raise DataError(f"{path} cannot be read as a table: {error}. Check the file.") from error


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _label(text: str) -> str | None:
    return None if text.strip() in ("", "-1") else text.strip()


def _key(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())
