"""Networks learn to name labelled cells as any microscope, lamp and stain would show them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from bc_sam.config.arguments import PretrainingArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.networks.sam.encoding import normalise
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.engine.loop import Schedule, fit
from bc_sam.training.engine.sampling import stage_batches, tempered
from bc_sam.training.steps.augmentation import STRONG_DRAWS, strong_views, view_draws

logger = logging.getLogger(__name__)


class KnownCells(Dataset):
    """Cells with a label: pixels (S, S, 3) uint8, mask (S, S) uint8, whether it has one, label and position.

    Args:
        cells: The data.
        rows: Some of them; those without a label are passed over.
        rendered: Cells to come after them, all of them, of a domain of their own.

    Attributes:
        domains: (n,) domain of each.
    """

    def __init__(self, cells: CellStore, rows: np.ndarray, rendered: CellStore | None = None) -> None:
        rows = rows[cells.labels[rows] >= 0]
        self.places = [(cells, int(row)) for row in rows]
        self.domains = cells.domains[rows]
        if rendered is not None:
            self.places += [(rendered, row) for row in range(len(rendered))]
            own = np.full(len(rendered), len(cells.table.domain_names))
            self.domains = np.concatenate([self.domains, own])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, bool, int, int]:
        cells, row = self.places[index]
        mask = torch.tensor(cells.masks[row] > 0, dtype=torch.uint8)
        return torch.tensor(cells.pixels[row]), mask, bool(cells.has_mask[row]), int(cells.labels[row]), index


class Views(NamedTuple):
    """A view of each cell of a batch.

    Attributes:
        images: (B, 3, w, w) float32, normalised.
        masks: (B, w, w) float32, 0 or 1.
        has_mask: (B,) bool, whether the mask is known.
        labels: (B,) int64.
    """

    images: Tensor
    masks: Tensor
    has_mask: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Lessons:
    """Labelled cells to learn from, and how they are shown.

    Attributes:
        cells: The data.
        rows: Cells to learn from.
        rendered: Cells that the package drew, to learn from beside them.
        validation_rows: Cells by which the best epoch is chosen.
        arguments: How the cells are shown.
        accelerator: Device, processes and precision.
        config: Gives the labels and the pixels' mean and deviation.
        seed: Seed of the shuffling and the views.
    """

    cells: CellStore
    rows: np.ndarray
    rendered: CellStore | None
    validation_rows: np.ndarray
    arguments: PretrainingArguments
    accelerator: Accelerator
    config: BCSamConfig
    seed: int

    def teach(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module, Views], Tensor],
        description: str,
        *,
        window: int,
        epochs: int,
        learning_rate: float,
        checkpoints: Checkpoints | None = None,
        validate: Callable[[Tensor], Tensor] | None = None,
    ) -> list[dict[str, float]]:
        """Trains a network on views of the cells, in place.

        Args:
            model: The network.
            loss: Its loss on a batch of views.
            description: Text of the progress bar.
            window: Side of the views, pixels.
            epochs: Passes over the data.
            learning_rate: Peak rate.
            checkpoints: Where to keep checkpoints.
            validate: Gives class logits of whole normalised images, by which the best epoch is chosen; ``None`` takes
                the last.

        Returns:
            The loss of each epoch.
        """
        arguments = self.arguments
        data = KnownCells(self.cells, self.rows, self.rendered)
        order = tempered(data.domains, arguments.evenness)
        batches = stage_batches(order, len(data), arguments.batch_size, self.accelerator, self.seed)

        def loss_of_batch(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
            pixels, masks, has_mask, labels, numbers = batch
            draws = view_draws(self.seed, batches.epoch, numbers.tolist(), STRONG_DRAWS)
            images, masks = strong_views(
                pixels.permute(0, 3, 1, 2).float(), masks.float(), draws, window, arguments.view
            )
            return loss(model, Views(self._normalised(images.permute(0, 2, 3, 1)), masks, has_mask, labels))

        schedule = Schedule(
            epochs=epochs,
            warmup_steps=2 * len(batches),
            learning_rate=learning_rate,
            weight_decay=arguments.weight_decay,
            max_grad_norm=1.0,
        )
        validated = validate is not None and len(self.validation_rows) > 0
        return fit(
            model,
            data,
            batches,
            loss_of_batch,
            schedule,
            self.accelerator,
            description,
            checkpoints=checkpoints,
            validate=(lambda _: self._validation_loss(validate)) if validated else None,  # type: ignore[arg-type]
        )

    def sample(self, most: int) -> Tensor:
        """Returns some of the cells to learn from as they are: (n, 3, S, S) float32, normalised."""
        rows = self.rows[np.linspace(0, len(self.rows) - 1, min(len(self.rows), most)).astype(int)]
        return self._normalised(torch.tensor(self.cells.pixels[rows]))

    def _validation_loss(self, name: Callable[[Tensor], Tensor]) -> float:
        unseen = KnownCells(self.cells, self.validation_rows)
        losses, right = 0.0, 0
        for pixels, _, _, labels, _ in DataLoader(unseen, self.arguments.batch_size):
            logits = name(self._normalised(pixels.to(self.accelerator.device))).float().cpu()
            losses += float(F.cross_entropy(logits, labels, reduction="sum"))
            right += int((logits.argmax(1) == labels).sum())
        logger.info("%.1f %% of %d cells of the validation are named rightly.", 100 * right / len(unseen), len(unseen))
        return losses / len(unseen)

    def _normalised(self, pixels: Tensor) -> Tensor:
        return normalise(pixels, self.config.image_mean, self.config.image_std)
