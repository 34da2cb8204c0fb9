"""Boxes of cells on fields, as annotation tools write them: COCO, Pascal VOC and YOLO."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import yaml
from PIL import Image

from bc_sam.data.tables_of_cells import FileIndex
from bc_sam.errors import DataError

logger = logging.getLogger(__name__)

_MAX_BYTES = 512 * 2**20


@dataclass(frozen=True)
class AnnotatedBox:
    """A box on a field.

    Attributes:
        field: The field, relative to the data set, with forward slashes.
        edges: Left, top, right and bottom edge, pixels.
        name: Class name as annotated.
    """

    field: str
    edges: tuple[float, float, float, float]
    name: str


def read_boxes(root: Path, fields: Sequence[str], others: Sequence[Path]) -> tuple[str, list[AnnotatedBox]] | None:
    """Reads the boxes of a folder, if there are any.

    Args:
        root: The folder.
        fields: Images below it, relative to it.
        others: The other files below it.

    Returns:
        The name of the format and the boxes; ``None`` if the folder has no annotations.

    Raises:
        DataError: If annotations cannot be read, or belong to none of the images.
    """
    index = FileIndex(fields)
    for title, read in (("COCO", _read_coco), ("Pascal VOC", _read_voc), ("YOLO", _read_yolo)):
        found = list(read(root, index, fields, others))
        if found:
            return title, found
    return None


def _read_coco(root: Path, index: FileIndex, fields: Sequence[str], others: Sequence[Path]) -> Iterator[AnnotatedBox]:
    for path in others:
        if path.suffix.lower() != ".json" or path.stat().st_size > _MAX_BYTES:
            continue
        try:
            table = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, OSError):
            continue
        if not isinstance(table, dict) or not {"images", "annotations", "categories"} <= table.keys():
            continue
        prefix = path.parent.relative_to(root).as_posix()
        try:
            names = {category["id"]: str(category["name"]) for category in table["categories"]}
            files = {image["id"]: index.find(str(image["file_name"]), prefix) for image in table["images"]}
            annotations = [
                (files.get(annotation["image_id"]), [float(edge) for edge in annotation["bbox"]], annotation)
                for annotation in table["annotations"]
            ]
            for file, (left, top, width, height), annotation in annotations:
                if file is not None:
                    yield AnnotatedBox(file, (left, top, left + width, top + height), names[annotation["category_id"]])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is not valid COCO: {error!r}. Export it again.") from error
        _mention_missing(path, sum(file is None for file in files.values()))


def _read_voc(root: Path, index: FileIndex, fields: Sequence[str], others: Sequence[Path]) -> Iterator[AnnotatedBox]:
    missing = []
    for path in others:
        if path.suffix.lower() != ".xml":
            continue
        try:
            text = path.read_text(encoding="utf-8-sig")
            if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities could grow without end
                raise DataError(f"{path} declares entities, which annotations do not need. Do not trust it.")
            annotation = ElementTree.fromstring(text)
        except (ElementTree.ParseError, ValueError, OSError):
            continue
        if annotation.tag != "annotation":
            continue
        prefix = path.parent.relative_to(root).as_posix()
        file = index.find(path.stem, prefix) or index.find(annotation.findtext("filename", ""), prefix)
        if file is None:
            missing.append(path)
            continue
        try:
            for cell in annotation.iter("object"):
                edges = [float(cell.findtext(f"bndbox/{edge}", "")) for edge in ("xmin", "ymin", "xmax", "ymax")]
                yield AnnotatedBox(file, (edges[0], edges[1], edges[2], edges[3]), cell.findtext("name", "").strip())
        except ValueError as error:
            raise DataError(f"{path} has a box without four edges: {error}. Correct it.") from error
    if missing:
        _mention_missing(missing[0], len(missing))


def _read_yolo(root: Path, index: FileIndex, fields: Sequence[str], others: Sequence[Path]) -> Iterator[AnnotatedBox]:
    texts = {path.relative_to(root).as_posix(): path for path in others if path.suffix.lower() == ".txt"}
    names = _yolo_names(others)
    for field in fields:
        path = next((texts[name] for name in _yolo_label_files(field) if name in texts), None)
        if path is None or (names is None and not _looks_like_yolo(path)):
            continue
        with Image.open(root / field) as image:
            width, height = image.size
        for line, text in enumerate(path.read_text().splitlines(), start=1):
            if not text.strip():
                continue
            try:
                number, x, y, w, h = (float(value) for value in text.split()[:5])
            except ValueError as error:
                raise DataError(f"{path} has no class and box in line {line}. Correct it.") from error
            edges = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
            yield AnnotatedBox(field, edges, (names or {}).get(int(number), str(int(number))))


def _yolo_label_files(field: str) -> list[str]:
    """Returns where the labels of a field may be: beside it, or in the folder labels instead of images."""
    path = PurePosixPath(field).with_suffix(".txt")
    swapped = PurePosixPath(*("labels" if part.lower() in ("images", "img") else part for part in path.parts))
    return [swapped.as_posix(), path.as_posix()]


def _looks_like_yolo(path: Path) -> bool:
    lines = path.read_text(errors="replace").splitlines()
    return bool(lines) and all(
        len(line.split()) >= 5 and line.split()[0].isdecimal() for line in lines if line.strip()
    )


def _yolo_names(others: Sequence[Path]) -> dict[int, str] | None:
    """Returns the class names of ``data.yaml``, ``classes.txt`` or ``obj.names``, or ``None``."""
    for path in others:
        if path.suffix.lower() in (".yaml", ".yml"):
            try:
                names = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("names")
            except (yaml.YAMLError, AttributeError, ValueError):
                continue
            if isinstance(names, dict):
                return {int(number): str(name) for number, name in names.items()}
            if isinstance(names, list):
                return dict(enumerate(map(str, names)))
        if path.name.lower() in ("classes.txt", "obj.names"):
            return dict(enumerate(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()))
    return None


def _mention_missing(path: Path, n_missing: int) -> None:
    if n_missing:
        logger.warning("%s: %d annotated fields have no image file.", path, n_missing)
