"""Keeps the cells of finished tiles, so that an interrupted search of a large field goes on where it stopped."""

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bc_sam.models.abstention import Reason
from bc_sam.models.fields.tile_finder import TileCells
from bc_sam.models.found_cells import FoundCell
from bc_sam.models.prediction import Prediction
from bc_sam.utils.atomic import written_aside

logger = logging.getLogger(__name__)


class TileStore:
    """Finished tiles in a folder, each under the digest of its pixels and of what its cells depend on.

    A tile of other pixels, settings or weights, or of another version of this package, has another digest: it is
    searched, whatever the file that it is from is called. What `Search.keep_observed` asks for is not kept.

    Args:
        folder: The folder; created with the first tile.
        settings: What the results depend on besides the search itself, such as the weights, as plain data.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self._settings = json.dumps([version("bc_sam"), dict(settings)], sort_keys=True)

    def path_of(self, pixels: NDArray[np.uint8], search: str) -> Path:
        """Returns where the cells of a tile are kept.

        Args:
            pixels: (H, W, 3) uint8, RGB.
            search: What is sought and how; see `TileFinder.description`.
        """
        digest = hashlib.blake2b(repr((self._settings, search, pixels.shape)).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(pixels).data)
        return self.folder / f"{digest.hexdigest()}.json"

    def load(self, path: Path) -> TileCells | None:
        """Returns the cells that are kept at a path; ``None`` if there are none, or the file is damaged."""
        try:
            return _restored(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged (%r). The tile is searched again.", path, error)
            return None

    def save(self, cells: TileCells, path: Path) -> None:
        """Keeps the cells of a finished tile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as unfinished:
            unfinished.write_text(json.dumps(_plain(cells), ensure_ascii=False), encoding="utf-8")


def _plain(cells: TileCells) -> dict[str, Any]:
    return {
        "white_cells": [_plain_cell(cell) for cell in cells.white_cells],
        "red_cells": cells.red_cells,
        "platelets": cells.platelets,
    }


def _plain_cell(cell: FoundCell) -> dict[str, Any]:
    prediction = cell.prediction
    return {
        "box": cell.box,
        "mask": base64.b64encode(np.packbits(cell.mask).tobytes()).decode("ascii"),
        "score": cell.score,
        "cut_off": cell.cut_off,
        "prediction": prediction
        and {
            "label": prediction.label,
            "probabilities": _numbers(prediction.probabilities),
            "latent": _numbers(prediction.latent),
            "likeliest": prediction.likeliest,
            "reasons": [asdict(reason) for reason in prediction.reasons],
            "ood": prediction.ood,
            "label_probability": prediction.label_probability,
        },
    }


def _restored(values: dict[str, Any]) -> TileCells:
    return TileCells(
        tuple(map(_restored_cell, values["white_cells"])),
        tuple(map(_box, values["red_cells"])),
        tuple(map(_box, values["platelets"])),
    )


def _restored_cell(values: dict[str, Any]) -> FoundCell:
    left, top, right, bottom = box = _box(values["box"])
    shape = bottom - top, right - left
    bits = np.frombuffer(base64.b64decode(values["mask"], validate=True), np.uint8)
    mask = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
    known = values["prediction"]
    prediction = known and Prediction(
        source=None,
        label=known["label"],
        probabilities=_array(known["probabilities"]),
        latent=_array(known["latent"]),
        likeliest=known["likeliest"],
        reasons=tuple(Reason(**reason) for reason in known["reasons"]),
        ood=known["ood"],
        label_probability=known["label_probability"],
    )
    return FoundCell(box, mask, values["score"], values["cut_off"], prediction)


def _box(edges: list[int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = map(int, edges)
    return left, top, right, bottom


def _numbers(array: NDArray[np.float32] | None) -> list[float] | None:
    """Returns an array as numbers that JSON keeps exactly, since it writes all digits of a double."""
    return None if array is None else array.astype(np.float32).tolist()


def _array(numbers: list[float] | None) -> NDArray[np.float32] | None:
    return None if numbers is None else np.array(numbers, np.float32)
