"""A user's own images: one subfolder per class, a table of labels, or a flat folder of unlabelled cells."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from datasets import Dataset

from bc_sam.config.labels import LABELS
from bc_sam.data.annotated_masks import MaskList
from bc_sam.data.cells import Cell, build_dataset
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.datasets.folder_layout import (
    FolderLayout,
    choose_split,
    folder_groups,
    is_split_name,
    mention_other_folders,
    read_layout,
)
from bc_sam.data.file_search import find_images, walk_files
from bc_sam.data.groups import read_groups
from bc_sam.data.names.label_map import LabelMap, resolve_labels
from bc_sam.data.names.recognition import find_label, is_class_name
from bc_sam.data.names.table import ACEVEDO20_CODES, MATEK19_CODES
from bc_sam.data.tables_of_cells import TABLE_SUFFIXES, TableOfCells, find_tables, read_tables
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)

#: The value of ``group_by`` by which folders are patients or slides.
BY_FOLDER = "folder"


def load_folder(
    source: str | Path,
    *,
    domain: str,
    label_map: Mapping[str, str | None] | None = None,
    masks: "MaskList | str | Path | None" = None,
    group_pattern: str | None = None,
    group_by: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    r"""Loads images from one subfolder per class, with a table of labels, or unlabelled images from a flat folder.

    Folders of splits (``TRAIN``, ``test``) above or below the classes are joined, or one is chosen. Other folders
    above or below the classes may be patients. A table, ``metadata.csv`` or the only CSV with files and labels in the
    folder, counts more than folders; one that is not named metadata is used only if the folders give no classes.

    Args:
        source: The folder, a zip of it, or a table (``.csv``, ``.tsv``, ``.jsonl``) beside or above the images.
        domain: Name of the laboratory, for the column `domain`.
        label_map: Maps unknown class names to canonical classes, or to ``None`` to exclude them.
        masks: CSV that assigns masks to images; see `bc_sam.data.annotated_masks.match_masks`. Masks among the images
            are no cells.
        group_pattern: Regular expression whose first group is the slide or patient; see
            `bc_sam.data.groups.read_groups`.
        group_by: ``"folder"``: the folders above the classes, or else below them, are patients or slides.
        split: Name of the only split to read; by default all are joined.
        columns: Columns of the table for ``file``, ``label`` and ``group``; by default found by their names.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`. Excluded images are counted by class in
        ``dataset.info.description``.

    Raises:
        DataError: If there are no images, a class name is unknown, images are both in folders of classes and beside
            them, or an option is invalid or matches nothing.

    Example:
        ``load_folder("cells", domain="site_7", label_map={"neutrophil": "neutrophil_segmented", "debris": None},
        group_pattern=r"^([^_]+)_")``
    """
    if group_by not in (None, BY_FOLDER):
        raise DataError(f"group_by is {group_by!r}. Choose {BY_FOLDER!r}, or use group_pattern.")
    if group_by and group_pattern:
        raise DataError("Give either --group-by folder or --group-pattern.")
    given = LabelMap.of(label_map)
    mask_list = MaskList.of(masks) if masks else None
    given_table = _as_table(source)
    root = given_table.parent if given_table else _class_folder(as_folder(source), given)
    files = _images(root, mask_list, domain)
    others = [path for path in walk_files(root) if path.suffix.lower() in TABLE_SUFFIXES]
    tables = [given_table] if given_table else find_tables(root, others)
    layout = read_layout(files, given.__contains__, where=str(root), by_folder=bool(group_by)) if not tables else None
    if layout is None:
        layout = _layout_beside_table(files, given)
    has_classes = layout.label is not None and any(is_class_name(layout.class_of(file) or "") for file in files)
    if tables and not given_table and has_classes and not tables[0].name.lower().startswith("metadata."):
        logger.warning(
            "%s: %s is not used, since the folders are classes. Give it as the source.", domain, tables[0].name
        )
        tables = []
    files = choose_split(files, layout, split, where=domain)
    names = {file: layout.class_of(file) for file in files}
    groups: list[str | None]
    table = read_tables(tables, root, [file.as_posix() for file in files], columns) if tables else None
    if columns and not table:
        raise DataError(
            f"{domain} is a folder without a table, so --column has no effect. Give the CSV as the source."
        )
    if table:
        files, names = _labels_of_table(table, files, names, domain)
    labels = resolve_labels(sorted({name for name in names.values() if name}), given, where=str(root))
    kept = [file for file in files if names[file] is None or labels[names[file] or ""] is not None]
    if group_by:
        groups = folder_groups(kept, layout, where=domain)
    elif group_pattern or not table:
        groups = read_groups([file.as_posix() for file in kept], group_pattern, where=domain)
    else:
        groups = [table.groups[file.as_posix()] for file in kept]
    if not any(groups):
        mention_other_folders(kept, layout, where=domain)
    cells = [
        Cell(file.as_posix(), labels[name] if (name := names[file]) else None, group)
        for file, group in zip(kept, groups, strict=True)
    ]
    _mention_prefixes(cells, domain)
    if given is not label_map:
        given.require_used()
    left_out = [name for file in files if (name := names[file]) and labels[name] is None]
    used = [*tables, *([mask_list.path] if mask_list else [])]
    return build_dataset(root, cells, domain=domain, masks=masks, left_out=left_out, used=used)


def _as_table(source: str | Path) -> Path | None:
    path = Path(source)
    return path if path.suffix.lower() in TABLE_SUFFIXES and path.is_file() else None


def _images(root: Path, masks: MaskList | None, domain: str) -> list[PurePosixPath]:
    """Returns the images relative to their folder, without the masks among them."""
    paths = find_images(root)
    mask_files = masks.files() if masks else set()
    images = [path for path in paths if path.resolve() not in mask_files]
    if len(images) < len(paths):
        logger.info("%s: %d masks are among the images.", domain, len(paths) - len(images))
    return [PurePosixPath(path.relative_to(root).as_posix()) for path in images]


def _layout_beside_table(files: Sequence[PurePosixPath], given: LabelMap) -> FolderLayout:
    """Returns the layout if a table gives the labels, so that folders need not be classes."""
    try:
        layout = read_layout(files, given.__contains__, where="")
    except DataError:
        return FolderLayout()
    if all(is_class_name(layout.class_of(file) or "") for file in files):
        return layout
    return FolderLayout(layout.split)


def _labels_of_table(
    table: TableOfCells, files: Sequence[PurePosixPath], folders: Mapping[PurePosixPath, str | None], domain: str
) -> tuple[list[PurePosixPath], dict[PurePosixPath, str | None]]:
    """Returns the files in a table with their labels, and says what is left out or contradicts the folders."""
    title = ", ".join(path.name for path in table.paths)
    listed = [file for file in files if file.as_posix() in table.labels]
    if len(listed) < len(files):
        left_out = len(files) - len(listed)
        logger.warning("%s: %d of %d images left out, not listed in %s.", domain, left_out, len(files), title)
    if not table.has_labels:
        logger.warning("%s: %s has no column of labels. Name it with --column label=NAME.", domain, title)
        return listed, {file: folders[file] for file in listed}
    names = {file: table.labels[file.as_posix()] for file in listed}
    contradicting = [
        file
        for file in listed
        if (one := find_label(folders[file] or "")) and (other := find_label(names[file] or "")) and one != other
    ]
    if contradicting:
        logger.warning(
            "%s: %s gives %d images another class than their folder, such as %s (%s). The table counts.",
            domain,
            title,
            len(contradicting),
            contradicting[0],
            names[contradicting[0]],
        )
    logger.info("%s: the labels are read from %s.", domain, title)
    return listed, names


def _mention_prefixes(cells: Sequence[Cell], domain: str) -> None:
    """Says if file names start with the code of another class than the cell's."""
    codes = {code: label for code, label in {**MATEK19_CODES, **ACEVEDO20_CODES}.items() if label in LABELS}
    found = []
    for cell in cells:
        match = re.match(r"([A-Za-z]+)_", PurePosixPath(cell.file).name)
        other = codes.get(match.group(1).upper()) if match else None
        if other and cell.label and other != cell.label:
            found.append(cell.file)
    if found:
        logger.warning(
            "%s: the names of %d files start with the code of another class than that of their folder or table, such "
            "as %s. The prefix does not count; acevedo20:FOLDER reads prefixes.",
            domain,
            len(found),
            found[0],
        )


def _class_folder(folder: Path, given: LabelMap) -> Path:
    """Descends through folders with a single subfolder, as in zips, to the one with the class folders."""
    children = [child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX"))]
    if len(children) != 1 or not children[0].is_dir():
        return folder
    name = children[0].name
    if is_class_name(name) or name in given or is_split_name(name):
        return folder
    has_subfolders = any(grandchild.is_dir() for grandchild in children[0].iterdir())
    return _class_folder(children[0], given) if has_subfolders else folder
