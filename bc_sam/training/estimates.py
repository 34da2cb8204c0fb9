"""Estimates of the disk space, memory and time of a run."""

import shutil
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import SamModel

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.errors import DataError
from bc_sam.networks.features import encode_pixels
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.utils.resources import total_memory

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


def training_bytes(sam: SamModel, training: TrainingArguments, images: int, bytes_per_value: int) -> int:
    """Estimates the memory of stage 1 from below: the weights, and what the encoder keeps for the backward pass.

    Args:
        sam: The base.
        training: Settings of the stage.
        images: Images at a time.
        bytes_per_value: Size of an activation: 2 in half precision, else 4.
    """
    config: Any = sam.config.vision_config
    tokens, width = (training.image_size // config.patch_size) ** 2, config.hidden_size
    # Of each block: the inputs of both norms, q, k and v, the attention's output, and the MLP before and after GELU.
    values = config.num_hidden_layers * tokens * (6 * width + 2 * config.mlp_dim)
    weights = sum(parameter.numel() for parameter in sam.parameters())
    # Trained weights have a gradient and two moments of AdamW.
    return 4 * weights * (4 if training.segmentation.train_encoder else 1) + images * bytes_per_value * values


def require_memory(sam: SamModel, training: TrainingArguments, accelerator: Accelerator) -> None:
    """Checks that stage 1 can fit into the memory of the device.

    Raises:
        DataError: If it cannot. What is close to the limit is accepted, as the estimate is one from below.
    """
    if accelerator.device.type == "cuda":
        available: int | None = torch.cuda.mem_get_info(accelerator.device)[1]
    else:
        available = total_memory()
    parts = accelerator.gradient_accumulation_steps * accelerator.num_processes
    images = max(1, training.segmentation.batch_size // parts)
    needed = training_bytes(sam, training, images, 4 if accelerator.mixed_precision == "no" else 2)
    if available is not None and needed > available:
        raise DataError(
            f"Stage 1 needs at least {needed / 1e9:,.0f} GB of memory for {images} images of {training.image_size} px "
            f"at a time, but there are {available / 1e9:,.0f} GB. Lower image_size or segmentation.batch_size, or "
            "raise gradient_accumulation_steps."
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
