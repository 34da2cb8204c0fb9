"""Before the stages: a new small SAM learns to see cells, by their classes and their masks at once."""

import logging

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import SamModel

from bc_sam.config import BCSamConfig, PretrainingArguments
from bc_sam.data.store import CellStore
from bc_sam.losses import segmentation_loss
from bc_sam.sam.beginning import begin_well
from bc_sam.sam.encoding import cell_logits, encode, freeze_unused, normalise
from bc_sam.sam.resizing import resize_sam
from bc_sam.sam.weights import seeded
from bc_sam.training.augmentation import strong_views, view_draws
from bc_sam.training.checkpoints import Checkpoints
from bc_sam.training.loop import Schedule, fit
from bc_sam.training.sampling import stage_batches, tempered

logger = logging.getLogger(__name__)

_DRAWS = 21

# Images whose patches are whitened.
_PATCHED = 300


class KnownCells(Dataset):
    """Cells with a label: pixels (S, S, 3) uint8, mask (S, S) uint8, whether it has one, label and position."""

    def __init__(self, cells: CellStore, rows: np.ndarray) -> None:
        self.cells = cells
        self.rows = rows[cells.labels[rows] >= 0]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, bool, int, int]:
        row = self.rows[index]
        mask = torch.tensor(self.cells.masks[row] > 0, dtype=torch.uint8)
        label = int(self.cells.labels[row])
        return torch.tensor(self.cells.pixels[row]), mask, bool(self.cells.has_mask[row]), label, index


class CellNamer(nn.Module):
    """A SAM with a linear head on the mean of its feature map.

    Args:
        sam: The model, trained in place.
        n_labels: Classes.
        seed: Seed of the head.
    """

    def __init__(self, sam: SamModel, n_labels: int, seed: int) -> None:
        super().__init__()
        self.sam = sam
        width = sam.config.vision_config.hidden_size  # type: ignore[union-attr]
        with seeded(seed):
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, n_labels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns class logits (B, n_labels) and cell logits (B, S/4, S/4) of normalised images (B, 3, S, S)."""
        features = encode(self.sam, images)
        return self.head(self.norm(features.mean(dim=(2, 3)))), cell_logits(self.sam, features)


def pretrain(
    sam: SamModel,
    cells: CellStore,
    rows: np.ndarray,
    arguments: PretrainingArguments,
    accelerator: Accelerator,
    config: BCSamConfig,
    seed: int = 1234,
    *,
    checkpoints: tuple[Checkpoints, Checkpoints] | None = None,
    validation_rows: np.ndarray | None = None,
) -> tuple[SamModel, list[dict[str, float]]]:
    """Trains a whole SAM on labelled cells, first on the middle of the images, then on all of them.

    The original needs none of this, since its base has seen a billion masks. A base from scratch has seen nothing, and
    masks alone do not teach it granules and chromatin.

    Args:
        sam: A SAM at the size of the stored cells.
        cells: The data.
        rows: Cells to learn from; those without a label are passed over.
        arguments: Numbers of the training.
        accelerator: Device, processes and precision.
        config: Gives the labels and the pixels' mean and deviation.
        seed: Seed of the shuffling, the augmentation and the head.
        checkpoints: Where to keep checkpoints of the first part and of the second.
        validation_rows: Cells by which the best epoch of the second part is chosen.

    Returns:
        The SAM, in eval mode, and the loss of each epoch.
    """
    size = cells.image_size
    some = cells.pixels[rows[np.linspace(0, len(rows) - 1, min(len(rows), _PATCHED)).astype(int)]]
    begin_well(sam, normalise(torch.tensor(some), config.image_mean, config.image_std), seed)
    namer = CellNamer(resize_sam(sam, arguments.window), len(config.labels), seed)
    first = checkpoints and checkpoints[0]
    epochs, rate = arguments.window_epochs, arguments.learning_rate
    history = _fit(namer, cells, rows, arguments, accelerator, config, seed, epochs, rate, arguments.window, first)
    namer.sam = resize_sam(namer.sam.cpu(), size)
    second = checkpoints and checkpoints[1]
    epochs, rate = arguments.epochs, arguments.learning_rate / 3
    history += _fit(
        namer, cells, rows, arguments, accelerator, config, seed + 1, epochs, rate, size, second, validation_rows
    )
    return namer.sam.eval().requires_grad_(False), history


def _fit(
    namer: CellNamer,
    cells: CellStore,
    rows: np.ndarray,
    arguments: PretrainingArguments,
    accelerator: Accelerator,
    config: BCSamConfig,
    seed: int,
    epochs: int,
    learning_rate: float,
    window: int,
    checkpoints: Checkpoints | None,
    validation_rows: np.ndarray | None = None,
) -> list[dict[str, float]]:
    """One part of the training."""
    namer.requires_grad_(True)
    freeze_unused(namer.sam)
    data = KnownCells(cells, rows)
    order = tempered(cells.domains[data.rows], arguments.evenness)
    batches = stage_batches(order, len(data), arguments.batch_size, accelerator, seed)

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        pixels, masks, has_mask, labels, numbers = batch
        draws = view_draws(seed, batches.epoch, numbers.tolist(), _DRAWS)
        views = strong_views(pixels.permute(0, 3, 1, 2).float(), masks.float(), draws, window, arguments)
        named, outlined = model(normalise(views[0].permute(0, 2, 3, 1), config.image_mean, config.image_std))
        total = F.cross_entropy(named.float(), labels, label_smoothing=arguments.label_smoothing)
        if has_mask.any():
            masks = F.interpolate(views[1][has_mask][:, None], size=outlined.shape[-2:], mode="nearest-exact")[:, 0]
            total = total + arguments.mask_weight * segmentation_loss(outlined[has_mask].float(), masks)
        else:
            total = total + 0 * outlined.sum()  # keeps the graph, so that every parameter still gets a gradient
        return total

    unseen = KnownCells(cells, rows[:0] if validation_rows is None else validation_rows)

    def validation(model: nn.Module) -> float:
        losses, right = 0.0, 0
        for pixels, _, _, labels, _ in DataLoader(unseen, arguments.batch_size):
            images = normalise(pixels.to(accelerator.device), config.image_mean, config.image_std)
            named = model(images)[0].float()
            losses += float(F.cross_entropy(named, labels.to(named.device), reduction="sum"))
            right += int((named.argmax(1) == labels.to(named.device)).sum())
        logger.info("%.1f %% of %d cells of the validation are named rightly.", 100 * right / len(unseen), len(unseen))
        return losses / len(unseen)

    schedule = Schedule(
        epochs=epochs,
        warmup_steps=2 * len(batches),
        learning_rate=learning_rate,
        weight_decay=arguments.weight_decay,
        max_grad_norm=1.0,
    )
    return fit(
        namer,
        data,
        batches,
        loss,
        schedule,
        accelerator,
        f"Learning to see, {window} px",
        checkpoints=checkpoints,
        validate=validation if len(unseen) else None,
    )
