"""Estimates of the disk space and time of a run."""

import shutil
import time
from pathlib import Path

from transformers import SamModel

from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.errors import DataError
from bc_sam.networks.features import encode_pixels
from bc_sam.networks.sam.encoding import feature_shape

# A training step costs about three times as much as inference on the same images.
_TRAINING_FACTOR = 3

_TARGET_BYTES = 3 * 128**2


def feature_bytes(cells: CellStore, sam: SamModel) -> int:
    """Returns the disk space of the features, masks and targets of all cells, bytes.

    Args:
        cells: All cells.
        sam: The SAM that computes the features, at the size of the cells.
    """
    channels, height, width = feature_shape(sam)
    return len(cells) * (2 * channels * height * width + cells.image_size**2 + _TARGET_BYTES)


def require_space(cells: CellStore, sam: SamModel, folder: Path) -> None:
    """Checks that the disk of a folder has space for the features.

    Raises:
        DataError: If it does not.
    """
    needed, free = feature_bytes(cells, sam), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"The features of {len(cells)} cells take {needed / 1e9:.1f} GB, but {folder} has {free / 1e9:.1f} GB "
            "free. Free some space, or choose another --out."
        )


def expected_seconds(sam: SamModel, config: BCSamConfig, cells: CellStore, n_masks: int, epochs: int) -> float:
    """Estimates the duration of stage 1 and of feature extraction from one small batch, to within a factor of two.

    Args:
        sam: A SAM ready for inference; see `bc_sam.networks.features.inference_sam`.
        config: Config with the mean and standard deviation of the pixels.
        cells: All cells, from which features are extracted.
        n_masks: Number of training cells of stage 1.
        epochs: Epochs of stage 1.

    Returns:
        Seconds.
    """
    return seconds_per_cell(sam, config, cells) * (len(cells) + _TRAINING_FACTOR * n_masks * epochs)


def seconds_per_cell(sam: SamModel, config: BCSamConfig, cells: CellStore) -> float:
    """Measures the time of the encoder per cell of a small batch, seconds."""
    n = min(8, len(cells))
    encode_pixels(sam, config, cells.pixels[:n])  # warm-up
    start = time.perf_counter()
    encode_pixels(sam, config, cells.pixels[:n])
    return (time.perf_counter() - start) / n
