"""The folder in which the cells of fields are kept: pictures, crops, tables; an interrupted run resumes in it."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bc_sam.config.model import BCSamConfig
from bc_sam.data.appearance.magnification import Scale
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.datasets.box_crops import crop_box
from bc_sam.data.fields.sources import Field, open_field
from bc_sam.data.fields.tiles import Damage, Tile, divide, read_tiles
from bc_sam.errors import BCSamError
from bc_sam.models.field_records import UNNAMED, FieldRecord, write_coco, write_geojson, write_table
from bc_sam.models.fields.tile_store import TileStore
from bc_sam.utils.atomic import written_aside
from bc_sam.utils.guarded_csv import open_csv

logger = logging.getLogger(__name__)

# Width of a crop, µm; cells that are wider get a wider one.
_CROP_UM = 30.0

# Longer side of a picture, pixels. Large images are read in tiles of the second side.
_PICTURE_SIDE = 2400
_TILE_SIDE = 2400

# Grey level of what cannot be read.
_GREY = 128

_OUTLINE, _UNNAMED_OUTLINE = (0, 90, 255), (200, 0, 0)
_SETTINGS = "count.json"


class FieldFolder:
    """Writes what was found in each field, and knows which fields are finished.

    The folder contains ``pictures``, ``crops``, ``qupath`` (GeoJSON) and ``records`` by field, ``cells.csv`` and
    ``coco.json`` for all fields, the settings by which they were made, and until all fields are finished the ``tiles``
    of large ones.

    Args:
        folder: The folder; created if it does not exist.
        settings: What the results depend on, as plain data.
        profile: Scale and stain of the fields, if known.
        model: Config of the model.

    Raises:
        BCSamError: If the folder holds results of other settings, or other files.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], profile: AppearanceProfile | None, model: BCSamConfig
    ) -> None:
        self.folder, self.labels = folder, model.labels
        path = folder / _SETTINGS
        kept = json.loads(json.dumps(asdict(profile))) if profile else None  # tuples become lists
        settings = {**settings, "weights": _weights(model), "profile": kept}
        #: Keeps the tiles of large fields until `finish`.
        self.tiles = TileStore(folder / "tiles", settings)
        if path.exists():
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored != settings:
                changed = ", ".join(
                    sorted(key for key in {*stored, *settings} if stored.get(key) != settings.get(key))
                )
                raise BCSamError(
                    f"--out {folder} holds results of other settings ({changed}). Give the same settings, or a new "
                    "folder."
                )
        elif folder.is_dir() and any(folder.iterdir()):
            raise BCSamError(f"--out {folder} holds other files. Give a new or empty folder.")
        for name in ("pictures", "crops", "qupath", "records"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        with written_aside(path) as unfinished:
            unfinished.write_text(json.dumps(settings), encoding="utf-8")

    def finished(self, name: str, source: Any) -> FieldRecord | None:
        """Returns the record of a field that is finished and has not changed since; else ``None``.

        A field of which parts could not be read is not finished: they are tried again.
        """
        try:
            record = FieldRecord.load(self.folder / "records" / f"{_key(name, source)}.json")
            return record if record.complete else None
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("%s. The field is searched again.", error)
            return None

    def add(self, record: FieldRecord, source: Any, microns_per_pixel: float | None) -> None:
        """Writes the picture, crops and outlines of a field, and its record last, since that marks it as finished."""
        key = _key(record.field, source)
        with open_field(source) as field:
            with written_aside(self.folder / "pictures" / f"{key}.jpg") as unfinished:
                annotated_picture(field, record).save(unfinished, "JPEG", quality=90)
            for number, cell in enumerate(record.cells, start=1):
                side = round(_CROP_UM / microns_per_pixel) if microns_per_pixel else 0
                left, top, right, bottom = crop_box(cell.box, field.shape[1], field.shape[0], side)
                with written_aside(self.folder / "crops" / f"{key}_{number:04d}.png") as unfinished:
                    pixels = _readable_part(field, slice(top, bottom), slice(left, right))
                    Image.fromarray(np.ascontiguousarray(pixels)).save(unfinished, "PNG")
        write_geojson(record, self.labels, self.folder / "qupath" / f"{key}.geojson")
        record.save(self.folder / "records" / f"{key}.json")

    def finish(self, records: Sequence[FieldRecord]) -> None:
        """Writes the tables of all fields, and removes the tiles if all fields are finished."""
        with open_csv(self.folder / "cells.csv") as file:
            write_table(records, file)
        write_coco(records, self.labels, self.folder / "coco.json")
        if all(record.complete for record in records):
            shutil.rmtree(self.tiles.folder, ignore_errors=True)


def stored_profile(folder: Path, microns_per_pixel: float | None) -> AppearanceProfile | None:
    """Returns the scale and stain by which the fields in a folder were searched.

    Args:
        folder: See `FieldFolder`; it need not exist.
        microns_per_pixel: The pixel size given by the user, which must be that of then.
    """
    path = folder / _SETTINGS
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known = stored.get("profile")
    if not known or stored.get("microns_per_pixel") != microns_per_pixel:
        return None
    red, green, blue = known["strength"]
    return AppearanceProfile(Scale(**known["scale"]), (red, green, blue), known["n_images"])


def annotated_picture(field: Field, record: FieldRecord) -> Image.Image:
    """Draws outline, name and probability of each white cell on a field; large fields are reduced."""
    height, width = field.shape
    factor = min(1.0, _PICTURE_SIDE / max(height, width))
    picture = Image.new("RGB", (max(1, round(width * factor)), max(1, round(height * factor))), (_GREY,) * 3)
    for part, pixels in read_tiles(field, divide(field.shape, _TILE_SIDE, 0), 0, Damage(field.shape)):
        rows, columns = part.core
        left, top, right, bottom = (
            round(edge * factor) for edge in (columns.start, rows.start, columns.stop, rows.stop)
        )
        tile = Image.fromarray(np.ascontiguousarray(pixels))
        size = max(1, right - left), max(1, bottom - top)
        picture.paste(tile.resize(size, Image.Resampling.BOX), (left, top))
    draw = ImageDraw.Draw(picture)
    for cell in record.cells:
        colour = _OUTLINE if cell.name else _UNNAMED_OUTLINE
        corners = [(x * factor, y * factor) for x, y in cell.outline]
        if len(corners) > 2:
            draw.line([*corners, corners[0]], fill=colour, width=3)
        share = f" {cell.probability:.2f}" if cell.name == cell.likeliest else ""
        text = f"{cell.name}{share}" if cell.name else f"{UNNAMED} ({cell.likeliest}?)"
        corner = cell.box[0] * factor, max(cell.box[1] * factor - 16, 0)
        draw.rectangle(draw.textbbox(corner, text, font_size=14), fill=(255, 255, 255))
        draw.text(corner, text, fill=colour, font_size=14)
    return picture


def _readable_part(field: Field, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """Reads a rectangle; where it is damaged, which the search has reported, it is grey."""
    pixels = np.full((rows.stop - rows.start, columns.stop - columns.start, 3), _GREY, np.uint8)
    whole = Tile((rows, columns), (rows, columns))
    for part, content in read_tiles(field, [whole], 0, Damage(field.shape)):
        down, along = part.core
        pixels[down.start - rows.start :, along.start - columns.start :][: content.shape[0], : content.shape[1]] = (
            content
        )
    return pixels


def _weights(model: BCSamConfig) -> str:
    """Identifies the files of a model, which may change while its name stays."""
    return hashlib.sha256(json.dumps(sorted(model.files.items())).encode()).hexdigest()[:16]


def _key(name: str, source: Any) -> str:
    """Returns a file name for a field, which changes with its path, size and time of change."""
    facts = [name]
    if isinstance(source, Path) and source.is_file():
        status = source.stat()
        facts = [str(source.resolve()), str(status.st_size), str(status.st_mtime_ns)]
    digest = hashlib.blake2b("\0".join(facts).encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
    stem = "".join(character if character.isalnum() or character in "-_" else "_" for character in Path(name).stem)
    return f"{stem[:80]}-{digest}"
