"""A user's own fields with boxes in COCO, Pascal VOC or YOLO, from which cells are cropped."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from datasets import Dataset
from tqdm import tqdm

from bc_sam.data.cells import Cell, build_dataset
from bc_sam.data.datasets.box_annotations import AnnotatedBox, read_boxes
from bc_sam.data.datasets.box_crops import Box, crop_cells
from bc_sam.data.datasets.folder_layout import FolderLayout, choose_split, is_split_name
from bc_sam.data.file_search import find_images, is_image_name, walk_files
from bc_sam.data.groups import read_groups
from bc_sam.data.names.label_map import LabelMap, resolve_labels
from bc_sam.data.names.recognition import has_no_class, is_untyped
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)

#: Side of a crop in multiples of the longer side of its box, so that red cells around a cell show the scale.
SURROUNDINGS = 2

_SUFFIXES = (".json", ".xml", ".txt", ".yaml", ".yml", ".names")


def find_box_annotations(root: Path) -> tuple[str, list[AnnotatedBox]] | None:
    """Returns the format and the boxes of a folder, or ``None`` if it has none; see `read_boxes`."""
    others = [path for path in walk_files(root) if path.suffix.lower() in _SUFFIXES and not is_image_name(path.name)]
    if not others:
        return None
    return read_boxes(root, [path.relative_to(root).as_posix() for path in find_images(root)], others)


def load_boxes(
    root: Path,
    title: str,
    boxes: list[AnnotatedBox],
    *,
    domain: str,
    label_map: Mapping[str, str | None] | None = None,
    group_pattern: str | None = None,
    split: str | None = None,
) -> Dataset:
    """Crops the annotated cells from their fields, each with its surroundings.

    Red cells, platelets and other cells without a class are left out and counted; white cells of no given kind
    (``WBC``) are unlabelled. Boxes that reach beyond their field are clipped.

    Args:
        root: Folder of the data set.
        title: Format of the annotations.
        boxes: From `find_box_annotations`.
        domain: Name of the laboratory.
        label_map: Maps class names to canonical classes, or to ``None`` to exclude them.
        group_pattern: Regular expression that extracts the slide from the field's name; without, the cells of one
            field are a group.
        split: Name of the only split to read.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`; ``file`` is the field and the number of the cell in it.

    Raises:
        DataError: If no box can be used, a class is unknown, or an option matches nothing.
    """
    given = LabelMap.of(label_map)
    fields = list(dict.fromkeys(box.field for box in boxes))
    chosen = {file.as_posix() for file in _choose(fields, split, domain)}
    boxes = [box for box in boxes if box.field in chosen]
    names = sorted({box.name for box in boxes})
    given.note(names)
    left_out = [name for name in names if name not in given and has_no_class(name)]
    untyped = [name for name in names if name not in given and is_untyped(name)]
    typed = [name for name in names if name not in left_out and name not in untyped]
    labels = resolve_labels(typed, given, where=str(root))
    excluded = {*left_out, *(name for name in typed if labels[name] is None)}
    kept: defaultdict[str, list[AnnotatedBox]] = defaultdict(list)
    for box in boxes:
        if box.name not in excluded:
            kept[box.field].append(box)
    dropped = [box.name for box in boxes if box.name in excluded]
    cells = []
    for field, inside in tqdm(kept.items(), f"Cropping {domain}", unit="field", disable=None):
        crops = crop_cells(root / field, [_to_crop(box) for box in inside])
        for number, (box, crop) in enumerate(zip(inside, crops, strict=True), 1):
            if crop is None:
                dropped.append("box outside its field, or field unreadable")
            else:
                cells.append(Cell(f"{field}#{number}", labels.get(box.name), field, crop))
    if group_pattern and cells:
        groups = read_groups([cell.group or "" for cell in cells], group_pattern, where=domain)
        cells = [Cell(cell.file, cell.label, group, cell.image) for cell, group in zip(cells, groups, strict=True)]
    else:
        logger.info("%s: the cells of one field are treated as of one slide. --group-pattern changes that.", domain)
    if given is not label_map:
        given.require_used()
    counted = Counter(box.name for box in boxes)
    logger.info("%s: %d %s boxes on %d fields.", domain, len(boxes), title, len(chosen))
    if not cells:
        found = ", ".join(f"{name} {n}" for name, n in sorted(counted.items()))
        raise DataError(f"{root} has no boxes of white cells, but {found}. Name their classes with --map NAME=CLASS.")
    if untyped:
        logger.warning("%s: cells of the class %s are unlabelled, as it is no kind.", domain, ", ".join(untyped))
    used = [path for path in walk_files(root) if path.suffix.lower() in _SUFFIXES]
    return build_dataset(root, cells, domain=domain, left_out=dropped, used=used)


def _choose(fields: list[str], split: str | None, domain: str) -> list[PurePosixPath]:
    """Returns the fields of one split, or of all; the split is the topmost folder that is named as one."""
    files = [PurePosixPath(field) for field in fields]
    levels = [
        next((level for level, part in enumerate(file.parts[:-1]) if is_split_name(part)), None) for file in files
    ]
    level = levels[0] if levels and len(set(levels)) == 1 else None
    return [PurePosixPath(file) for file in choose_split(files, FolderLayout(split=level), split, where=domain)]


def _to_crop(box: AnnotatedBox) -> tuple[Box, int]:
    """Returns the box in whole pixels, and the side of its crop."""
    left, top, right, bottom = (round(edge) for edge in box.edges)
    return (left, top, right, bottom), SURROUNDINGS * max(right - left, bottom - top)
