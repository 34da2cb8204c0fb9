"""A comparison system learns to name cells: the data and the loss that it brings to the one training loop."""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from bc_sam.config.network import NetworkArguments, NetworkConfig
from bc_sam.data.store import CellStore
from bc_sam.networks.cell_network import CellNetwork, network_inputs, shrunk
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.engine.distributed import share_batch_norm
from bc_sam.training.engine.loop import Schedule, fit
from bc_sam.training.engine.sampling import shuffled, stage_batches
from bc_sam.training.steps.augmentation import jitter_colours, motions, moved, view_draws


@dataclass(frozen=True)
class NetworkInputs:
    """What a network may see of all cells.

    Attributes:
        cells: The images, and hand masks of some.
        features: Features of SAM and predicted masks, where the network needs them.
        config: Which of them it needs, and at which size.
    """

    cells: CellStore
    features: FeatureStore | None
    config: NetworkConfig

    def of(self, row: int, *, hand_masks: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Returns pixels (s, s, 3) uint8, features (C, h, w) float16 and mask (s, s) uint8; empty what is not needed.

        The side s is that which the network sees.

        Args:
            row: The cell.
            hand_masks: Whether to take the mask that was drawn by hand where there is one. A network learns from it,
                but is tested on the predicted one, which is all that it will have of a new cell.
        """
        nothing, size = torch.empty(0), self.config.input_size
        return (
            torch.tensor(shrunk(self.cells.pixels[row], size)),
            torch.tensor(self._features.maps[row]) if self.config.needs_maps else nothing,
            torch.tensor(shrunk(self._mask(row, hand_masks), size)) if self.config.needs_masks else nothing,
        )

    def _mask(self, row: int, hand_masks: bool) -> np.ndarray:
        by_hand = hand_masks and self.cells.has_mask[row]
        return self.cells.masks[row] > 0 if by_hand else self._features.masks[row]

    @property
    def _features(self) -> FeatureStore:
        assert self.features is not None
        return self.features


class NetworkCells(Dataset):
    """Pixels, features of SAM, mask, place of its label among the classes (-1 without), and position of each cell."""

    def __init__(self, inputs: NetworkInputs, rows: np.ndarray, *, hand_masks: bool) -> None:
        self.inputs = inputs
        self.rows = rows
        self.hand_masks = hand_masks
        place = {label: number for number, label in enumerate(inputs.config.classes)}
        self.targets = [place.get(label, -1) for label in inputs.cells.labels[rows].tolist()]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, int, int]:
        seen = self.inputs.of(int(self.rows[index]), hand_masks=self.hand_masks)
        return *seen, self.targets[index], index


def train_network(
    network: CellNetwork,
    inputs: NetworkInputs,
    rows: np.ndarray,
    arguments: NetworkArguments,
    accelerator: Accelerator,
    seed: int = 1234,
    *,
    description: str = "Network",
    checkpoints: Checkpoints | None = None,
    validation_rows: np.ndarray | None = None,
) -> list[dict[str, float]]:
    """Trains a network on labelled cells.

    A view of a cell turns its features of SAM along with it, as if the encoder saw every view of a cell alike. That is
    nearly so, and lets the features be computed once.

    Args:
        network: The network; trained in place and left in eval mode.
        inputs: What it sees of all cells.
        rows: Cells to learn from, each with a label of its classes.
        arguments: Numbers of the training.
        accelerator: Device, processes and precision.
        seed: Seed of the shuffling and the augmentation.
        description: Text of the progress bar.
        checkpoints: Where to keep checkpoints.
        validation_rows: Labelled cells by which the best epoch is chosen.

    Returns:
        The loss of each epoch.
    """
    share_batch_norm(network)
    data = NetworkCells(inputs, rows, hand_masks=True)
    batches = stage_batches(shuffled(len(data)), len(data), arguments.batch_size, accelerator, seed)

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        pixels, maps, masks, targets, cells = batch
        draws = view_draws(seed, batches.epoch, cells.tolist())
        motion = motions(draws).to(pixels.device)
        pixels = moved(pixels.permute(0, 3, 1, 2).float(), motion)
        if arguments.colour_jitter:
            pixels = jitter_colours(pixels, draws.to(pixels.device), arguments.colour_jitter)
        maps = moved(maps.float(), motion) if maps.numel() else maps
        masks = moved(masks[:, None].float(), motion, "nearest")[:, 0] if masks.numel() else masks
        logits = model(*network_inputs(pixels.permute(0, 2, 3, 1), maps, masks))
        return F.cross_entropy(logits.float(), targets, label_smoothing=arguments.label_smoothing)

    unseen = NetworkCells(inputs, rows[:0] if validation_rows is None else validation_rows, hand_masks=False)

    def validation(model: nn.Module) -> float:
        losses = []
        for batch in DataLoader(unseen, arguments.batch_size):
            pixels, maps, masks, targets, _ = (part.to(accelerator.device) for part in batch)
            logits = model(*network_inputs(pixels, maps, masks))
            losses.append(float(F.cross_entropy(logits.float(), targets, reduction="sum")))
        return sum(losses) / len(unseen)

    schedule = Schedule(
        epochs=arguments.epochs,
        warmup_steps=arguments.warmup_epochs * len(batches),
        learning_rate=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
        max_grad_norm=arguments.max_grad_norm,
        patience=arguments.patience,
        optimizer=arguments.optimizer,
    )
    return fit(
        network,
        data,
        batches,
        loss,
        schedule,
        accelerator,
        description,
        checkpoints=checkpoints,
        validate=validation if len(unseen) else None,
    )


@torch.inference_mode()
def embed_cells(network: CellNetwork, inputs: NetworkInputs, rows: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Returns what a network's last layer sees of some cells, (n, d) float32, by their predicted masks."""
    device = next(network.parameters()).device
    found = [np.empty((0, network.head.in_features), np.float32)]
    for batch in DataLoader(NetworkCells(inputs, rows, hand_masks=False), batch_size):
        pixels, maps, masks = (part.to(device) for part in batch[:3])
        found.append(network.embed(*network_inputs(pixels, maps, masks)).cpu().numpy())
    return np.concatenate(found)
