"""Stage 1: SAM learns to outline blood cells, through LoRA on its encoder and its whole mask decoder."""

import logging

import numpy as np
import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from bc_sam.config.arguments import SegmentationArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.errors import DataError
from bc_sam.networks.sam.encoding import cell_logits, encode, normalise
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.engine.distributed import gather
from bc_sam.training.engine.loop import Schedule, fit
from bc_sam.training.engine.sampling import shuffled, stage_batches
from bc_sam.training.steps.augmentation import random_views, view_draws
from bc_sam.training.steps.losses import segmentation_loss

logger = logging.getLogger(__name__)


class MaskedCells(Dataset):
    """Cells with a hand mask: pixels (S, S, 3) uint8, whole-cell mask (S, S) uint8, 0 or 1, and position."""

    def __init__(self, cells: CellStore, rows: np.ndarray) -> None:
        self.cells = cells
        self.rows = rows[cells.has_mask[rows]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        row = self.rows[index]
        pixels, mask = self.cells.pixels[row], self.cells.masks[row] > 0
        return torch.tensor(pixels), torch.tensor(mask, dtype=torch.uint8), index


class CellSegmenter(nn.Module):
    """SAM as one forward pass from images to cell logits, so that Accelerate can wrap it whole."""

    def __init__(self, sam: PeftModel) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, images: Tensor) -> Tensor:
        """Returns cell logits (B, S/4, S/4) of normalised images (B, 3, S, S)."""
        return cell_logits(self.sam, encode(self.sam, images))


def train_segmentation(
    adapter: PeftModel,
    cells: CellStore,
    rows: np.ndarray,
    arguments: SegmentationArguments,
    accelerator: Accelerator,
    config: BCSamConfig,
    seed: int = 1234,
    *,
    checkpoints: Checkpoints | None = None,
    validation_rows: np.ndarray | None = None,
) -> list[dict[str, float]]:
    """Fine-tunes SAM on the cells that have a hand mask (BC-SAM, section 2.1).

    Args:
        adapter: The base with its adapter, trainable, at the size of the stored cells; trained in place and left in
            eval mode.
        cells: The data.
        rows: Cells to learn from; those without a mask are passed over.
        arguments: Numbers of the stage.
        accelerator: Device, processes and precision.
        config: Gives the pixels' mean and deviation.
        seed: Seed of the shuffling and the augmentation.
        checkpoints: Where to keep checkpoints.
        validation_rows: Cells by whose masks the best epoch is chosen, where any of them has one.

    Returns:
        The loss of each epoch.

    Raises:
        DataError: If no cell has a mask.
    """
    data = MaskedCells(cells, rows)
    if not len(data):
        raise DataError("Stage 1 learns from masks, and no training image has one. Give --masks PAIRS.csv.")
    logger.info("Stage 1 learns from %d masks.", len(data))
    if arguments.train_encoder:
        adapter.get_base_model().vision_encoder.requires_grad_(True)
    batches = stage_batches(shuffled(len(data)), len(data), arguments.batch_size, accelerator, seed)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        pixels, masks, cells = batch
        draws = view_draws(seed, batches.epoch, cells.tolist())
        images, masks = random_views(pixels.permute(0, 3, 1, 2).float(), masks.float(), draws, arguments.colour_jitter)
        return _mask_loss(model, images.permute(0, 2, 3, 1), masks, config, arguments.dice_weight)

    unseen = MaskedCells(cells, rows[:0] if validation_rows is None else validation_rows)

    def validation(model: nn.Module) -> float:
        losses = []
        for pixels, masks, _ in DataLoader(unseen, arguments.batch_size):
            pixels, masks = pixels.to(accelerator.device).float(), masks.to(accelerator.device).float()
            losses.append(float(_mask_loss(model, pixels, masks, config, arguments.dice_weight)) * len(pixels))
        return sum(losses) / len(unseen)

    schedule = Schedule(
        epochs=arguments.epochs,
        warmup_steps=arguments.warmup_epochs * len(batches),
        learning_rate=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
        max_grad_norm=arguments.max_grad_norm,
        patience=arguments.patience,
    )
    return fit(
        CellSegmenter(adapter),
        data,
        batches,
        loss,
        schedule,
        accelerator,
        "Stage 1: masks",
        checkpoints=checkpoints,
        validate=validation if len(unseen) else None,
    )


def _mask_loss(model: nn.Module, pixels: Tensor, masks: Tensor, config: BCSamConfig, dice_weight: float) -> Tensor:
    """The loss of stage 1 on pixels (B, S, S, 3), 0..255, and masks (B, S, S)."""
    logits = model(normalise(pixels, config.image_mean, config.image_std))
    masks = F.interpolate(masks[:, None], size=logits.shape[-2:], mode="nearest-exact")[:, 0]
    return segmentation_loss(gather(logits), gather(masks), dice_weight)  # the Dice is that of the whole batch
