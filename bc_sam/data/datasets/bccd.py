"""BCCD (github.com/Shenggan/BCCD_Dataset): smear fields with boxes, from which the white cells are cropped."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from datasets import Dataset, DatasetInfo
from tqdm import tqdm

from bc_sam.data.cells import FEATURES, Cell, build_dataset
from bc_sam.data.csv_table import read_csv
from bc_sam.data.datasets.archives import as_folder
from bc_sam.data.datasets.box_crops import CROP_SIDE, Box, crop_cells
from bc_sam.data.names.label_map import LabelMap, resolve_labels
from bc_sam.data.names.recognition import propose_label
from bc_sam.data.provenance import Provenance
from bc_sam.errors import DataError

BCCD = Provenance(
    title="BCCD (Blood Cell Count and Detection)",
    licence="MIT",
    homepage="https://github.com/Shenggan/BCCD_Dataset",
    image="fields of 640 x 480 px, JPEG; cells cropped with their surroundings, 320 x 320 px",
    citation="Shenggan: BCCD Dataset. GitHub.",
    bibtex="""@misc{bccd,
  author = {Shenggan},
  title = {{BCCD} Dataset},
  howpublished = {GitHub},
  url = {https://github.com/Shenggan/BCCD_Dataset}
}""",
)

# A white cell: its box, and its class, which is empty if unknown.
_WhiteCell = tuple[Box, str]

# BCCD does not distinguish kinds of neutrophils and lymphocytes; nearly all of its cells are of the proposed ones.
_COARSE_CLASSES = MappingProxyType({name: propose_label(name) for name in ("neutrophil", "lymphocyte")})

_TABLE = "boxes.csv"
_FIELDS = "fields"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("field", "object", *_EDGES, "cell_class")


def load_bccd(
    source: str | Path, *, domain: str = "bccd", label_map: Mapping[str, str | None] | None = None
) -> Dataset:
    """Loads the white cells of BCCD, cropped from their fields, from ``boxes.csv`` and the folder ``fields``.

    The columns of ``boxes.csv`` are ``field`` (file name in ``fields``), ``object``, ``xmin``, ``ymin``, ``xmax``,
    ``ymax`` (pixels) and ``cell_class``. Only rows whose object is ``WBC`` are used. The original archive has no class
    of white cells, and its layout (``Annotations``, ``JPEGImages``) is not read.

    A field is used if it has exactly one white cell, and the class of that cell is known. The crop is a square of
    `CROP_SIDE` pixels, or the longer side of the box if that is longer, around the centre of the box. It is shifted to
    stay inside the field and is never larger than the field.

    BCCD does not distinguish kinds of neutrophils and lymphocytes. They are labelled ``neutrophil_segmented`` and
    ``lymphocyte_typical``, which nearly all of them are.

    Args:
        source: Folder with ``boxes.csv`` and ``fields``, its parent folder, or a zip of either.
        domain: Value of the column `domain`.
        label_map: Maps names in ``cell_class`` to canonical classes, or to ``None`` to exclude them.

    Returns:
        Dataset with the columns `bc_sam.data.cells.FEATURES`, sorted by field. The crops are PNG; ``file`` is the name
        of the field, and ``group`` is ``None`` since slides and patients are not identified. Fields that are not used
        are counted in ``dataset.info.description``. The row of an unreadable field refers to its file, so that the
        field is reported where the images are read.

    Raises:
        DataError: If the layout is another one, ``boxes.csv`` cannot be read or is invalid, a class is unknown, a box
            is not inside its field, or no field can be used.

    Example:
        ``load_bccd("bccd")[0]["image"].size``
    """
    folder = as_folder(source)
    root = _archive_folder(folder)
    if root is None:
        raise DataError(f"{folder} does not contain {_TABLE} and the folder {_FIELDS}. Give the folder that does.")
    fields = _read_fields(root / _TABLE)
    single, left_out = _single_cells(fields)
    classes = sorted({name for _, name in single.values()})
    given = LabelMap.of(label_map)
    coarse = {name: _COARSE_CLASSES[name] for name in classes if name in _COARSE_CLASSES and name not in given}
    labels = coarse | resolve_labels([name for name in classes if name not in coarse], given, where=str(root / _TABLE))
    if given is not label_map:
        given.require_used()
    left_out += [name for _, name in single.values() if labels[name] is None]
    used = {file: (box, labels[name]) for file, (box, name) in single.items() if labels[name] is not None}
    cells = [
        Cell(file, label, image=_crop(root / _FIELDS / file, box))
        for file, (box, label) in tqdm(used.items(), f"Cropping {domain}", unit="cell", disable=None)
    ]
    info = DatasetInfo(features=FEATURES, license=BCCD.licence, homepage=BCCD.homepage, citation=BCCD.bibtex)
    return build_dataset(root / _FIELDS, cells, domain=domain, left_out=left_out, info=info)


def looks_like_bccd(folder: Path) -> bool:
    """Whether a folder, or the only subfolder in it, contains ``boxes.csv`` and the folder ``fields``."""
    return _archive_folder(folder) is not None


def _archive_folder(folder: Path) -> Path | None:
    """Returns the folder that has the layout: `folder` itself or, as in zips, the only subfolder in it."""
    if not folder.is_dir():
        return None
    subfolders = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]
    candidates = [folder, *(subfolders if len(subfolders) == 1 else [])]
    return next((path for path in candidates if (path / _TABLE).is_file() and (path / _FIELDS).is_dir()), None)


def _read_fields(table: Path) -> dict[str, set[_WhiteCell]]:
    """Returns the box and class of each white cell, by field. Repeated rows count once."""
    fields: defaultdict[str, set[_WhiteCell]] = defaultdict(set)
    for line, row in enumerate(read_csv(table, _COLUMNS), start=2):
        file = row["field"]
        if not file or "\0" in file or Path(file).name != file:
            raise DataError(f"{table} has no file name in {_FIELDS} in line {line}, but {file!r}. Correct the line.")
        white_cells = fields[file]  # a field without white cells is counted, too
        if row["object"] == "WBC":
            white_cells.add((_box(row, table, line), row["cell_class"].strip()))
    return dict(sorted(fields.items()))


def _box(row: Mapping[str, str], table: Path, line: int) -> Box:
    try:
        left, top, right, bottom = (int(row[edge]) for edge in _EDGES)
    except ValueError:
        raise DataError(f"{table} has edges that are not whole pixels in line {line}. Correct the line.") from None
    if not (0 <= left < right and 0 <= top < bottom):
        raise DataError(f"{table} has an empty or negative box in line {line}. Correct the line.")
    return left, top, right, bottom


def _single_cells(fields: Mapping[str, set[_WhiteCell]]) -> tuple[dict[str, _WhiteCell], list[str]]:
    """Returns the box and class of each usable field's only white cell, and why each other field is left out."""
    single: dict[str, _WhiteCell] = {}
    left_out = []
    for file, white_cells in fields.items():
        if len(white_cells) != 1:
            left_out.append("several white cells" if white_cells else "no white cell")
            continue
        ((box, name),) = white_cells
        if name:
            single[file] = (box, name)
        else:
            left_out.append("no class")
    return single, left_out


def _crop(path: Path, box: Box) -> bytes | None:
    """Returns the PNG of the cell, or ``None`` if its field cannot be read."""
    return crop_cells(path, [(box, CROP_SIDE)], clip=False)[0]
