"""What is kept of a searched field, and its export as CSV, COCO and GeoJSON."""

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from bc_sam.config.labels import COARSE_LABELS
from bc_sam.models.found_cells import FieldCells, FoundCell
from bc_sam.models.labelling_order import typical_cells
from bc_sam.models.laboratory import is_usable
from bc_sam.utils.atomic import written_aside
from bc_sam.utils.guarded_csv import GuardedCsv
from bc_sam.utils.polygons import outline_polygon

#: Class of cells without a name in exported files.
UNNAMED = "without a name"

_PLACE = ("field", "cell", "left", "top", "right", "bottom", "score")
_COLUMNS = (*_PLACE, "name", "likeliest", "probability", "reasons", "label_first")

# Colours of classes in QuPath.
_PALETTE = (
    (228, 26, 28),
    (55, 126, 184),
    (77, 175, 74),
    (152, 78, 163),
    (255, 127, 0),
    (166, 86, 40),
    (247, 129, 191),
)
_GREY = (128, 128, 128)


@dataclass(frozen=True)
class CellRecord:
    """A white cell as it is written to files; see `bc_sam.models.found_cells.FoundCell`.

    Attributes:
        box: Left, top, right and bottom edge, pixels of the field.
        outline: Corners (x, y) of its outline, pixels of the field.
        area: Area of its mask, pixels.
        score: How surely it is a white cell, 0..1.
        name: Its name; empty if it has none.
        likeliest: The most probable label.
        probability: The probability of that label.
        reasons: Why it has no name, or why the name should be checked, in sentences.
        embedding: Its embedding (d,), if its image is good enough to judge the laboratory by; else empty.
        ood: Its out-of-distribution score, 0..1, if known.
    """

    box: tuple[int, int, int, int]
    outline: list[tuple[float, float]]
    area: int
    score: float
    name: str
    likeliest: str
    probability: float
    reasons: str
    embedding: tuple[float, ...] = ()
    ood: float | None = None

    @classmethod
    def of(cls, cell: FoundCell) -> "CellRecord":
        """Returns the record of a named cell."""
        prediction = cell.prediction
        embedding = prediction.latent if prediction is not None and is_usable(prediction.reasons) else None
        return cls(
            cell.box,
            outline_polygon(cell.mask, cell.box[0], cell.box[1]),
            int(cell.mask.sum()),
            cell.score,
            (prediction and prediction.label) or "",
            (prediction and prediction.likeliest) or "",
            (prediction and prediction.probability) or 0.0,
            " ".join(reason.text for reason in prediction.reasons) if prediction else "",
            () if embedding is None else tuple(map(float, embedding)),
            prediction.ood if prediction else None,
        )


@dataclass(frozen=True)
class FieldRecord:
    """A searched field as it is written to files; see `bc_sam.models.found_cells.FieldCells`.

    Attributes:
        field: Its name.
        shape: Height and width, pixels.
        cells: Its white cells.
        n_red_cells: Number of red cells; ``None`` if they were not counted.
        n_platelets: Number of platelets; ``None`` if they were not counted.
        notes: What is wrong or unusual, in sentences.
        complete: Whether all of it could be read.
    """

    field: str
    shape: tuple[int, int]
    cells: tuple[CellRecord, ...] = ()
    n_red_cells: int | None = None
    n_platelets: int | None = None
    notes: tuple[str, ...] = ()
    complete: bool = True

    @classmethod
    def of(cls, name: str, found: FieldCells) -> "FieldRecord":
        """Returns the record of a field."""
        return cls(
            name,
            found.shape,
            tuple(map(CellRecord.of, found.cells)),
            None if found.red_cells is None else len(found.red_cells),
            None if found.platelets is None else len(found.platelets),
            tuple(filter(None, (found.problem, *found.damaged))),
            not found.damaged,
        )

    @property
    def counts(self) -> Counter[str]:
        """Number of white cells by name; cells without a name are not counted."""
        return Counter(cell.name for cell in self.cells if cell.name)

    def save(self, path: Path) -> None:
        """Writes the record as JSON."""
        _write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "FieldRecord":
        """Reads a record.

        Raises:
            OSError: If there is none.
            ValueError: If it is damaged.
        """
        values = json.loads(path.read_text(encoding="utf-8"))
        try:
            cells = tuple(
                CellRecord(
                    **{
                        **cell,
                        "box": tuple(cell["box"]),
                        "outline": list(map(tuple, cell["outline"])),
                        "embedding": tuple(cell["embedding"]),
                    }
                )
                for cell in values.pop("cells")
            )
            return cls(**{**values, "shape": tuple(values["shape"]), "notes": tuple(values["notes"])}, cells=cells)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no record of a field: {error!r}") from error


def white_per_100_red(records: Sequence[FieldRecord]) -> float | None:
    """Estimates the number of white cells per 100 red cells; ``None`` if no red cells were counted.

    Example:
        >>> white_per_100_red([FieldRecord("smear.png", (9, 9), n_red_cells=50)])
        0.0
    """
    counted = [record for record in records if record.n_red_cells is not None]
    n_red = sum(record.n_red_cells or 0 for record in counted)
    return 100 * sum(len(record.cells) for record in counted) / n_red if n_red else None


def write_table(records: Sequence[FieldRecord], file: TextIO) -> None:
    """Writes one row for each white cell, in CSV; the cells to label first are numbered in the last column."""
    embedded = [cell for record in records for cell in record.cells if cell.embedding]
    first = typical_cells(np.array([cell.embedding for cell in embedded], float)) if embedded else []
    ranks = {id(embedded[index]): rank for rank, index in enumerate(first, start=1)}
    table = GuardedCsv(file)
    table.write(_COLUMNS)
    for record in records:
        for number, cell in enumerate(record.cells, start=1):
            numbers = [str(number), *map(str, cell.box), f"{cell.score:.3f}"]
            names = [cell.name, cell.likeliest, f"{cell.probability:.4f}", cell.reasons]
            names.append(str(ranks.get(id(cell), "")))
            table.write([record.field, *numbers, *names])


def write_coco(records: Sequence[FieldRecord], labels: Sequence[str], path: Path) -> None:
    """Writes boxes, outlines and names of all white cells in the format of COCO."""
    parents = [
        parent for parent in COARSE_LABELS if any(parent == name for record in records for name in record.counts)
    ]
    categories = {label: number for number, label in enumerate([*labels, UNNAMED, *parents], start=1)}
    annotations: list[dict[str, Any]] = []
    for image, record in enumerate(records, start=1):
        for cell in record.cells:
            left, top, right, bottom = cell.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": categories[cell.name or UNNAMED],
                    "bbox": [left, top, right - left, bottom - top],
                    "segmentation": [[value for corner in cell.outline for value in corner]],
                    "area": cell.area,
                    "iscrowd": 0,
                    "score": cell.score,
                }
            )
    images = [
        {"id": number, "file_name": record.field, "height": record.shape[0], "width": record.shape[1]}
        for number, record in enumerate(records, start=1)
    ]
    names = [{"id": number, "name": label, "supercategory": "white cell"} for label, number in categories.items()]
    _write_json(path, {"images": images, "annotations": annotations, "categories": names})


def write_geojson(record: FieldRecord, labels: Sequence[str], path: Path) -> None:
    """Writes the outlines of a field's white cells as annotations that QuPath opens, classified by name."""
    features = []
    for number, cell in enumerate(record.cells, start=1):
        ring = [list(corner) for corner in (*cell.outline, *cell.outline[:1])]
        label = cell.likeliest if cell.name in COARSE_LABELS else cell.name  # a parent has the colour of a kind of it
        colour = _PALETTE[labels.index(label) % len(_PALETTE)] if label in labels else _GREY
        features.append(
            {
                "type": "Feature",
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{record.field} {cell.box}")),
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {
                    "objectType": "annotation",
                    "name": f"{number}",
                    "classification": {"name": cell.name or UNNAMED, "color": list(colour)},
                    "measurements": {"score": cell.score, "probability": cell.probability},
                },
            }
        )
    _write_json(path, {"type": "FeatureCollection", "features": features})


def _write_json(path: Path, content: Any) -> None:
    with written_aside(path) as unfinished:
        unfinished.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
