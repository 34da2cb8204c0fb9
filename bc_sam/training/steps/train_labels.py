"""Training of networks on strongly augmented views of labelled cells."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from bc_sam.config.arguments import PretrainingArguments
from bc_sam.config.base import Schedule
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import CellStore
from bc_sam.networks.sam.encoding import normalise
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.engine.loop import TrainingStep, batches_on_device, train
from bc_sam.training.engine.sampling import Order, tempered
from bc_sam.training.steps.augmentation import STRONG_DRAWS, strong_views, view_draws

logger = logging.getLogger(__name__)


class LabelledCells(Dataset):
    """Labelled cells: pixels (S, S, 3) uint8, mask (S, S) uint8, whether it is annotated, label and index.

    Args:
        cells: The data.
        rows: Cells to include; those without a label are skipped.
        rendered: Rendered cells to append as a separate domain.

    Attributes:
        strata: (n,) integers that differ between the classes of each domain.
    """

    def __init__(self, cells: CellStore, rows: np.ndarray, rendered: CellStore | None = None) -> None:
        rows = rows[cells.labels[rows] >= 0]
        self.entries = [(cells, int(row)) for row in rows]
        domains, labels = cells.domains[rows], cells.labels[rows]
        if rendered is not None:
            self.entries += [(rendered, row) for row in range(len(rendered))]
            own = np.full(len(rendered), len(cells.table.domain_names))
            domains, labels = np.concatenate([domains, own]), np.concatenate([labels, rendered.labels])
        self.strata = domains * (labels.max(initial=0) + 1) + labels

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, bool, int, int]:
        cells, row = self.entries[index]
        mask = torch.tensor(cells.masks[row] > 0, dtype=torch.uint8)
        return torch.tensor(cells.pixels[row]), mask, bool(cells.has_mask[row]), int(cells.labels[row]), index


class Views(NamedTuple):
    """Views of a batch of cells.

    Attributes:
        images: (B, 3, S, S) float32, normalized.
        masks: (B, S, S) float32, 0 or 1.
        has_mask: (B,) bool, whether the mask is annotated.
        labels: (B,) int64.
    """

    images: Tensor
    masks: Tensor
    has_mask: Tensor
    labels: Tensor


@dataclass(frozen=True)
class LabelledViews:
    """Augmented views of labelled cells, and the training of networks on them.

    Attributes:
        cells: The data.
        rows: Training cells.
        rendered: Additional rendered training cells, if any.
        validation_rows: Validation cells, by which the best epoch is chosen.
        arguments: Settings of the training and of the views.
        accelerator: Device, processes and precision.
        config: Config with the labels and the mean and standard deviation of the pixels.
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

    def fit(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module, Views], Tensor],
        name: str,
        *,
        epochs: int,
        learning_rate: float,
        checkpoints: Checkpoints | None = None,
        validate: Callable[[Tensor], Tensor] | None = None,
    ) -> list[dict[str, float]]:
        """Trains a network on views of the cells, in place.

        Args:
            model: The network.
            loss: Its loss on a batch of views.
            name: Label of the progress bar.
            epochs: Number of epochs.
            learning_rate: Peak learning rate.
            checkpoints: Checkpoints of the training.
            validate: Returns the network's class logits of normalized images, by which the best epoch is chosen;
                ``None`` keeps the last epoch.

        Returns:
            The loss of each epoch.
        """
        schedule = Schedule(
            epochs=epochs,
            batch_size=self.arguments.batch_size,
            learning_rate=learning_rate,
            weight_decay=self.arguments.weight_decay,
            warmup_epochs=2,
            max_grad_norm=1.0,
        )
        step = _ViewStep(self, model, loss, name, validate)
        return train(step, schedule, self.accelerator, self.seed, checkpoints=checkpoints)

    def sample(self, n: int) -> Tensor:
        """Returns at most `n` unaugmented training cells: (n, 3, S, S) float32, normalized."""
        rows = self.rows[np.linspace(0, len(self.rows) - 1, min(len(self.rows), n)).astype(int)]
        return self.normalised(torch.tensor(self.cells.pixels[rows]))

    def normalised(self, pixels: Tensor) -> Tensor:
        """Returns pixels (B, S, S, 3), 0..255, as normalized images (B, 3, S, S)."""
        return normalise(pixels, self.config.image_mean, self.config.image_std)


class _ViewStep(TrainingStep):
    """Trains a network on `LabelledViews`; see `LabelledViews.fit`."""

    def __init__(
        self,
        views: LabelledViews,
        model: nn.Module,
        loss: Callable[[nn.Module, Views], Tensor],
        name: str,
        class_logits: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.name, self.module, self.views = name, model, views
        self.loss_of_views, self.class_logits = loss, class_logits
        self.dataset = LabelledCells(views.cells, views.rows, views.rendered)
        self.validation = LabelledCells(views.cells, views.validation_rows)

    def order(self) -> Order:
        """Returns an order that oversamples rare classes and small laboratories by the sampling temperature."""
        return tempered(self.dataset.strata, self.views.arguments.sampling_temperature)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...], epoch: int) -> Tensor:
        """Returns the loss of a batch of `LabelledCells`, one strongly augmented view of each."""
        pixels, masks, has_mask, labels, cells = batch
        draws = view_draws(self.views.seed, epoch, cells.tolist(), STRONG_DRAWS)
        images, masks = strong_views(
            pixels.permute(0, 3, 1, 2).float(), masks.float(), draws, pixels.shape[1], self.views.arguments.view
        )
        images = self.views.normalised(images.permute(0, 2, 3, 1))
        return self.loss_of_views(model, Views(images, masks, has_mask, labels))

    def validate(self, model: nn.Module) -> float | None:
        """Returns the mean cross-entropy on the unaugmented validation cells, and logs the accuracy."""
        n = len(self.validation)
        if self.class_logits is None or not n:
            return None
        loss, correct = 0.0, 0
        for pixels, _, _, labels, _ in batches_on_device(self.validation, self.views.arguments.batch_size, model):
            logits, labels = self.class_logits(self.views.normalised(pixels)).float().cpu(), labels.cpu()
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            correct += int((logits.argmax(1) == labels).sum())
        logger.info("%.1f %% of %d validation cells are classified correctly.", 100 * correct / n, n)
        return loss / n
