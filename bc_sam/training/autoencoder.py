"""Stage 2: the autoencoder learns to draw the cell from 50 numbers that do not tell the laboratory."""

from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from bc_sam.autoencoder import CrossDomainAutoencoder
from bc_sam.config import AutoencoderArguments
from bc_sam.features import FeatureStore
from bc_sam.losses import autoencoder_loss
from bc_sam.training.loop import Schedule, fit


class CellFeatures(Dataset):
    """Feature map (C, h, w) float16, target (3, 128, 128) uint8 and domain of each cell."""

    def __init__(self, features: FeatureStore, rows: np.ndarray, domains: np.ndarray) -> None:
        self.features = features
        self.rows = rows
        self.domains = domains[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        row = self.rows[index]
        target = torch.tensor(self.features.targets[row]).permute(2, 0, 1)
        return torch.tensor(self.features.maps[row]), target, int(self.domains[index])


class BalancedDomainSampler(Sampler[int]):
    """Deals the domains in turn, so that every batch holds them in equal parts whatever their sizes.

    An epoch is as long as the data: a large domain is seen in part, a small one several times, each shuffled anew.

    Args:
        domains: (n,) integers.
        seed: Seed of the shuffling.
    """

    def __init__(self, domains: np.ndarray, seed: int = 1234) -> None:
        self.members = [np.flatnonzero(domains == domain) for domain in np.unique(domains)]
        self.length = len(domains)
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        each = -(-self.length // len(self.members))
        dealt = [
            np.concatenate([self.rng.permutation(members) for _ in range(-(-each // len(members)))])[:each]
            for members in self.members
        ]
        return iter(np.stack(dealt, axis=1).ravel()[: self.length].tolist())


def train_autoencoder(
    features: FeatureStore,
    rows: np.ndarray,
    domains: np.ndarray,
    arguments: AutoencoderArguments,
    accelerator: Accelerator,
    seed: int = 1234,
) -> tuple[CrossDomainAutoencoder, list[dict[str, float]]]:
    """Trains the autoencoder on cells of all domains, without their labels (BC-SAM, section 2.2).

    Args:
        features: Feature maps and targets of all cells.
        rows: Cells to learn from.
        domains: (n,) domain of each of all cells.
        arguments: Numbers of the stage.
        accelerator: Device, processes and precision.
        seed: Seed of the initial weights and of the shuffling.

    Returns:
        The autoencoder, in eval mode, and the loss of each epoch.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CrossDomainAutoencoder(features.maps.shape[1], arguments.latent_dim, arguments.decoder_channels)
    # The decoder's convolutions run faster so, on processors above all; the numbers are the same.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = CellFeatures(features, rows, domains)
    sampler = BalancedDomainSampler(data.domains, seed)
    # Batch norm cannot train on a last batch of one cell.
    drop_last = len(data) % arguments.batch_size == 1
    loader = DataLoader(data, arguments.batch_size, sampler=sampler, drop_last=drop_last)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        maps, targets, domains = batch
        latents, cells = model(maps.float())
        return autoencoder_loss(cells, targets.float() / 255, latents, domains, arguments.mmd_weight)

    schedule = Schedule(
        epochs=arguments.epochs,
        warmup_steps=arguments.warmup_steps,
        learning_rate=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
    )
    return model, fit(model, loader, loss, schedule, accelerator, "Stage 2: autoencoder")
