"""Stage 1: SAM learns to segment blood cells, by LoRA in its encoder and full training of its mask decoder."""

import logging

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from bc_sam.config.arguments import SegmentationArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.errors import DataError
from bc_sam.networks.sam.encoding import cell_logits, encode, normalise
from bc_sam.training.engine.global_batch import gather
from bc_sam.training.engine.loop import TrainingStep, batches_on_device
from bc_sam.training.steps.augmentation import random_views, view_draws
from bc_sam.training.steps.losses import segmentation_loss

logger = logging.getLogger(__name__)


class MaskedCells(Dataset):
    """Cells with an annotated mask: pixels (S, S, 3) uint8, whole-cell mask (S, S) uint8, 0 or 1, and index."""

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
    """SAM as one forward pass from images to cell logits, so that Accelerate can wrap it."""

    def __init__(self, sam: PeftModel) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, images: Tensor) -> Tensor:
        """Returns cell logits (B, S/4, S/4) of normalized images (B, 3, S, S)."""
        return cell_logits(self.sam, encode(self.sam, images))


class SegmentationStep(TrainingStep):
    """Fine-tunes SAM on the cells that have an annotated mask (BC-SAM, section 2.1).

    Args:
        adapter: The base with its trainable adapter, at the size of the stored cells.
        cells: The data.
        rows: Training cells; those without a mask are skipped.
        validation_rows: Validation cells, by whose masks, if any, the best epoch is chosen.
        arguments: Settings of the stage.
        config: Config with the mean and standard deviation of the pixels.
        seed: Seed of the augmentation.

    Raises:
        DataError: If no training cell has a mask.
    """

    name = "Stage 1: masks"

    def __init__(
        self,
        adapter: PeftModel,
        cells: CellStore,
        rows: np.ndarray,
        validation_rows: np.ndarray,
        arguments: SegmentationArguments,
        config: BCSamConfig,
        seed: int,
    ) -> None:
        self.arguments, self.config, self.seed = arguments, config, seed
        self.dataset = MaskedCells(cells, rows)
        self.validation = MaskedCells(cells, validation_rows)
        if not len(self.dataset):
            raise DataError("Stage 1 needs annotated masks, but no training image has one. Give --masks PAIRS.csv.")
        logger.info("Stage 1 trains on %d masks.", len(self.dataset))
        if arguments.train_encoder:
            adapter.get_base_model().vision_encoder.requires_grad_(True)
        self.module = CellSegmenter(adapter)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], epoch: int) -> Tensor:
        """Returns the loss of a batch of `MaskedCells`, one random view of each."""
        pixels, masks, cells = batch
        draws = view_draws(self.seed, epoch, cells.tolist())
        jitter = self.arguments.colour_jitter
        images, masks = random_views(pixels.permute(0, 3, 1, 2).float(), masks.float(), draws, jitter)
        return self._mask_loss(model, images.permute(0, 2, 3, 1), masks)

    def validate(self, model: nn.Module) -> float | None:
        """Returns the mean loss on the masks of the unaugmented validation cells."""
        if not len(self.validation):
            return None
        losses = [
            float(self._mask_loss(model, pixels.float(), masks.float())) * len(pixels)
            for pixels, masks, _ in batches_on_device(self.validation, self.arguments.batch_size, model)
        ]
        return sum(losses) / len(self.validation)

    def _mask_loss(self, model: nn.Module, pixels: Tensor, masks: Tensor) -> Tensor:
        """Returns the loss on pixels (B, S, S, 3), 0..255, and masks (B, S, S)."""
        logits = model(normalise(pixels, self.config.image_mean, self.config.image_std))
        masks = F.interpolate(masks[:, None], size=logits.shape[-2:], mode="nearest-exact")[:, 0]
        # The Dice is computed over the global batch.
        return segmentation_loss(gather(logits), gather(masks), self.arguments.dice_weight)
