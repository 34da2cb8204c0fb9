"""Stage 1: SAM learns to outline blood cells, through LoRA on its encoder and its whole mask decoder."""

import logging

import numpy as np
import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import SamModel

from bc_sam.config import BCSamConfig, SegmentationArguments
from bc_sam.data.store import CellStore
from bc_sam.errors import DataError
from bc_sam.losses import segmentation_loss
from bc_sam.sam.encoding import cell_logits, encode, normalise
from bc_sam.sam.lora import add_lora
from bc_sam.training.augmentation import random_views
from bc_sam.training.loop import Schedule, fit

logger = logging.getLogger(__name__)


class MaskedCells(Dataset):
    """Cells with a hand mask: pixels (S, S, 3) uint8 and whole-cell mask (S, S) uint8, 0 or 1."""

    def __init__(self, cells: CellStore, rows: np.ndarray) -> None:
        self.cells = cells
        self.rows = rows[cells.has_mask[rows]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row = self.rows[index]
        return torch.tensor(self.cells.pixels[row]), torch.tensor(self.cells.masks[row] > 0, dtype=torch.uint8)


class CellSegmenter(nn.Module):
    """SAM as one forward pass from images to cell logits, so that Accelerate can wrap it whole."""

    def __init__(self, sam: PeftModel) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, images: Tensor) -> Tensor:
        """Returns cell logits (B, S/4, S/4) of normalised images (B, 3, S, S)."""
        return cell_logits(self.sam, encode(self.sam, images).embeddings)


def train_segmentation(
    sam: SamModel,
    cells: CellStore,
    rows: np.ndarray,
    arguments: SegmentationArguments,
    accelerator: Accelerator,
    config: BCSamConfig,
    seed: int = 1234,
) -> tuple[PeftModel, list[dict[str, float]]]:
    """Fine-tunes SAM on the cells that have a hand mask (BC-SAM, section 2.1).

    Args:
        sam: The base, at the size of the stored cells.
        cells: The data.
        rows: Cells to learn from; those without a mask are passed over.
        arguments: Numbers of the stage.
        accelerator: Device, processes and precision.
        config: Gives the pixels' mean and deviation, and the base that the adapter's file is to name.
        seed: Seed of LoRA's initial weights, the shuffling and the augmentation.

    Returns:
        The base with its adapter, in eval mode, and the loss of each epoch.

    Raises:
        DataError: If no cell has a mask.
    """
    data = MaskedCells(cells, rows)
    if not len(data):
        raise DataError("Stage 1 learns from masks, and no training image has one. Give --masks PAIRS.csv.")
    logger.info("Stage 1 learns from %d masks.", len(data))
    model = add_lora(sam, arguments.lora_rank, base=config.base, base_revision=config.base_revision, seed=seed)
    if arguments.train_encoder:
        model.get_base_model().vision_encoder.requires_grad_(True)
    shuffle = torch.Generator().manual_seed(seed)
    loader = DataLoader(data, arguments.batch_size, shuffle=True, generator=shuffle)
    views = torch.Generator().manual_seed(seed + accelerator.process_index)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        pixels, masks = batch
        images, masks = random_views(pixels.permute(0, 3, 1, 2).float(), masks.float(), views, arguments.colour_jitter)
        images = normalise(images.permute(0, 2, 3, 1), config.image_mean, config.image_std)
        logits = model(images)
        masks = F.interpolate(masks[:, None], size=logits.shape[-2:], mode="nearest-exact")[:, 0]
        return segmentation_loss(logits, masks, arguments.dice_weight)

    schedule = Schedule(
        epochs=arguments.epochs,
        warmup_steps=arguments.warmup_epochs * len(loader),
        learning_rate=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
    )
    return model, fit(CellSegmenter(model), loader, loss, schedule, accelerator, "Stage 1: masks")
