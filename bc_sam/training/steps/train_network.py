"""Training of the comparison networks: their inputs and loss."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from bc_sam.config.network import NetworkArguments, NetworkConfig
from bc_sam.data.store import CellStore
from bc_sam.networks.cell_network import CellNetwork, network_inputs, shrunk
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.training.engine.global_batch import synchronize_batch_norm
from bc_sam.training.engine.loop import TrainingStep, batches_on_device
from bc_sam.training.steps.augmentation import jitter_colours, motions, moved, view_draws


@dataclass(frozen=True)
class NetworkInputs:
    """The inputs of a network for all cells.

    Attributes:
        cells: The images, and the annotated masks.
        features: Features of SAM and predicted masks, if the network needs them.
        config: Config with the required inputs and their size.
    """

    cells: CellStore
    features: FeatureStore | None
    config: NetworkConfig

    def of(self, row: int, *, annotated_masks: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Returns pixels (s, s, 3) uint8, features (C, h, w) float16 and mask (s, s) uint8 of a cell.

        The side s is the network's input size; unused inputs are empty.

        Args:
            row: The cell.
            annotated_masks: Whether to use the annotated mask if there is one. Networks are trained on it, but tested
                on the predicted one, as only that is available for new cells.
        """
        empty, size = torch.empty(0), self.config.input_size
        return (
            torch.tensor(shrunk(self.cells.pixels[row], size)),
            torch.tensor(self._features.maps[row]) if self.config.needs_maps else empty,
            torch.tensor(shrunk(self._mask(row, annotated_masks), size)) if self.config.needs_masks else empty,
        )

    def _mask(self, row: int, annotated_masks: bool) -> np.ndarray:
        annotated = annotated_masks and self.cells.has_mask[row]
        return self.cells.masks[row] > 0 if annotated else self._features.masks[row]

    @property
    def _features(self) -> FeatureStore:
        assert self.features is not None
        return self.features


class NetworkCells(Dataset):
    """Pixels, features of SAM, mask, class index (-1 if unlabelled or of another class), and index of each cell."""

    def __init__(self, inputs: NetworkInputs, rows: np.ndarray, *, annotated_masks: bool) -> None:
        self.inputs = inputs
        self.rows = rows
        self.annotated_masks = annotated_masks
        class_index = {label: index for index, label in enumerate(inputs.config.classes)}
        self.targets = [class_index.get(label, -1) for label in inputs.cells.labels[rows].tolist()]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, int, int]:
        inputs = self.inputs.of(int(self.rows[index]), annotated_masks=self.annotated_masks)
        return *inputs, self.targets[index], index


class NetworkStep(TrainingStep):
    """Trains a comparison network on labelled cells.

    Augmentation transforms the features of SAM along with the cell, as if the encoder were equivariant. It nearly is,
    and so the features need to be computed only once.

    Args:
        name: Label of the progress bar.
        network: Trained in place.
        inputs: Its inputs for all cells.
        rows: Training cells, each of one of the network's classes.
        validation_rows: Labelled validation cells, by which the best epoch is chosen; may be empty.
        arguments: Settings of the training.
        seed: Seed of the augmentation.
    """

    def __init__(
        self,
        name: str,
        network: CellNetwork,
        inputs: NetworkInputs,
        rows: np.ndarray,
        validation_rows: np.ndarray,
        arguments: NetworkArguments,
        seed: int,
    ) -> None:
        synchronize_batch_norm(network)
        self.name, self.module, self.arguments, self.seed = name, network, arguments, seed
        self.dataset = NetworkCells(inputs, rows, annotated_masks=True)
        self.validation = NetworkCells(inputs, validation_rows, annotated_masks=False)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...], epoch: int) -> Tensor:
        """Returns the cross-entropy of a batch of `NetworkCells`, one random view of each."""
        pixels, maps, masks, targets, cells = batch
        draws = view_draws(self.seed, epoch, cells.tolist())
        motion = motions(draws).to(pixels.device)
        pixels = moved(pixels.permute(0, 3, 1, 2).float(), motion)
        if self.arguments.colour_jitter:
            pixels = jitter_colours(pixels, draws.to(pixels.device), self.arguments.colour_jitter)
        maps = moved(maps.float(), motion) if maps.numel() else maps
        masks = moved(masks[:, None].float(), motion, "nearest")[:, 0] if masks.numel() else masks
        logits = model(*network_inputs(pixels.permute(0, 2, 3, 1), maps, masks))
        return F.cross_entropy(logits.float(), targets, label_smoothing=self.arguments.label_smoothing)

    def validate(self, model: nn.Module) -> float | None:
        """Returns the mean cross-entropy on the unaugmented validation cells."""
        if not len(self.validation):
            return None
        losses = []
        for batch in batches_on_device(self.validation, self.arguments.batch_size, model):
            pixels, maps, masks, targets, _ = batch
            logits = model(*network_inputs(pixels, maps, masks))
            losses.append(float(F.cross_entropy(logits.float(), targets, reduction="sum")))
        return sum(losses) / len(self.validation)


@torch.inference_mode()
def embed_cells(network: CellNetwork, inputs: NetworkInputs, rows: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Returns the inputs of a network's last layer for given cells, (n, d) float32, using predicted masks."""
    embeddings = [np.empty((0, network.head.in_features), np.float32)]
    for pixels, maps, masks, _, _ in batches_on_device(
        NetworkCells(inputs, rows, annotated_masks=False), batch_size, network
    ):
        embeddings.append(network.embed(*network_inputs(pixels, maps, masks)).cpu().numpy())
    return np.concatenate(embeddings)
