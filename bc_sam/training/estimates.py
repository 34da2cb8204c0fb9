"""What a run will need: disk and time."""

import shutil
import time
from pathlib import Path

from transformers import SamModel

from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.errors import DataError
from bc_sam.networks.features import encode_pixels
from bc_sam.networks.sam.encoding import feature_shape

# A step that learns costs about three times one that only looks.
_LEARNING = 3


def require_space(cells: CellStore, sam: SamModel, folder: Path) -> None:
    """Refuses to begin where the disk has no room for the features.

    Raises:
        DataError: If there is not enough.
    """
    channels, height, width = feature_shape(sam)
    each = 2 * channels * height * width + cells.image_size**2 + 3 * 128**2
    needed, free = len(cells) * each, shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"The features of {len(cells)} cells take {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB "
            "free. Free some, or choose another --out."
        )


def expected_seconds(sam: SamModel, config: BCSamConfig, cells: CellStore, learning: int, epochs: int) -> float:
    """Estimates the seconds of stage 1 and of the features, from one small batch; the truth may be twice as much.

    Args:
        sam: What `bc_sam.networks.features.inference_sam` returned.
        config: Its pixels' mean and deviation.
        cells: All cells, of which features are computed.
        learning: Cells that stage 1 learns from.
        epochs: Its epochs.
    """
    n = min(8, len(cells))
    encode_pixels(sam, config, cells.pixels[:n])  # the first one warms up
    start = time.perf_counter()
    encode_pixels(sam, config, cells.pixels[:n])
    each = (time.perf_counter() - start) / n
    return each * (len(cells) + _LEARNING * learning * epochs)
