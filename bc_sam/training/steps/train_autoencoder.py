"""Stage 2: the autoencoder learns to draw the cell from 50 numbers that do not tell the laboratory."""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bc_sam.config.arguments import AutoencoderArguments
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.engine.distributed import gather, share_batch_norm
from bc_sam.training.engine.loop import Schedule, fit
from bc_sam.training.engine.sampling import balanced, stage_batches
from bc_sam.training.steps.losses import autoencoder_loss, linear_mmd, ssim
from bc_sam.utils.torch_utils import seeded

_BLOCK = 256


class Recaller(nn.Module):
    """The autoencoder, and beside it a line from the latent to the mean feature, which only the training needs.

    Reconstruction in pixels keeps what is large and bright. What tells the classes apart, such as granules, is small
    in pixels and large in SAM's features, so the latent shall tell these too.

    Args:
        autoencoder: Trained in place.
        mean: (C,) mean of the cells' mean features.
        std: (C,) their standard deviation.
        seed: Seed of the line.
    """

    def __init__(self, autoencoder: CrossDomainAutoencoder, mean: Tensor, std: Tensor, seed: int) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.mean, self.std = mean, std
        with seeded(seed):
            self.recall = nn.Linear(autoencoder.latent_dim, len(mean))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns latents (B, d), cells (B, 3, 128, 128) and the squared error of the recalled features (B,)."""
        latents, cells = self.autoencoder(maps)
        wanted = (maps.mean(dim=(2, 3)) - self.mean.to(maps.device)) / self.std.to(maps.device)
        return latents, cells, (self.recall(latents).float() - wanted.float()).square().mean(dim=1)


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


@dataclass(frozen=True)
class Anchor:
    """Latents of other laboratories' cells, which stay where they are while new ones are drawn to them.

    Attributes:
        latents: (m, d) float32.
        domains: (m,) integers, none of which is a domain of the cells to learn from.
    """

    latents: np.ndarray
    domains: np.ndarray

    def join(self, latents: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        """Returns latents (B + m, d) and domains (B + m,) of a batch and the anchor."""
        own = torch.from_numpy(self.latents).to(latents), torch.from_numpy(self.domains).to(domains)
        return torch.cat([latents, own[0]]), torch.cat([domains, own[1]])


def train_autoencoder(
    model: CrossDomainAutoencoder,
    features: FeatureStore,
    rows: np.ndarray,
    domains: np.ndarray,
    arguments: AutoencoderArguments,
    accelerator: Accelerator,
    seed: int = 1234,
    *,
    checkpoints: Checkpoints | None = None,
    validation_rows: np.ndarray | None = None,
    anchor: Anchor | None = None,
) -> list[dict[str, float]]:
    """Trains the autoencoder on cells of all domains, without their labels (BC-SAM, section 2.2).

    Args:
        model: The autoencoder; trained in place and left in eval mode.
        features: Feature maps and targets of all cells.
        rows: Cells to learn from.
        domains: (n,) domain of each of all cells.
        arguments: Numbers of the stage.
        accelerator: Device, processes and precision.
        seed: Seed of the shuffling.
        checkpoints: Where to keep checkpoints.
        validation_rows: Cells by which the best epoch is chosen.
        anchor: Latents of laboratories whose images are not here, to which those of the cells are drawn.

    Returns:
        The loss of each epoch.
    """
    recaller = Recaller(model, *_mean_features(features, rows), seed=seed)
    share_batch_norm(recaller)
    # The decoder's convolutions run faster so, on processors above all; the numbers are the same.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = CellFeatures(features, rows, domains)
    batches = stage_batches(balanced(data.domains), len(data), arguments.batch_size, accelerator, seed)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        maps, targets, domains = batch
        latents, cells, recalled = model(maps.float())
        whole = gather(latents), gather(domains)
        whole = whole if anchor is None else anchor.join(*whole)
        targets = targets.float() / 255
        drawn = autoencoder_loss(cells, targets, *whole, arguments.mmd_weight)
        return drawn + _extra(cells, targets, recalled, arguments)

    unseen = CellFeatures(features, rows[:0] if validation_rows is None else validation_rows, domains)

    def validation(model: nn.Module) -> float:
        return _mean_loss(model, unseen, anchor, arguments, accelerator.device)

    schedule = Schedule(
        epochs=arguments.epochs,
        warmup_steps=arguments.warmup_steps,
        learning_rate=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
        max_grad_norm=arguments.max_grad_norm,
        patience=arguments.patience,
    )
    return fit(
        recaller,
        data,
        batches,
        loss,
        schedule,
        accelerator,
        "Stage 2: autoencoder",
        checkpoints=checkpoints,
        validate=validation if len(unseen) else None,
    )


def _mean_loss(
    model: nn.Module,
    data: CellFeatures,
    anchor: Anchor | None,
    arguments: AutoencoderArguments,
    device: torch.device,
) -> float:
    """The loss of stage 2 on cells that it does not learn from; the domains' means are those of all these cells."""
    latents, errors = [], []
    for maps, targets, _ in DataLoader(data, arguments.batch_size):
        latent, cells, recalled = model(maps.to(device).float())
        latents.append(latent)
        targets = targets.to(device).float() / 255
        errors.append((1 - ssim(cells, targets) + _extra(cells, targets, recalled, arguments)) * len(maps))
    whole = torch.cat(latents), torch.from_numpy(data.domains).to(device)
    distance = linear_mmd(*(whole if anchor is None else anchor.join(*whole)))
    return float(torch.stack(errors).sum() / len(data) + arguments.mmd_weight * distance)


def _extra(cells: Tensor, targets: Tensor, recalled: Tensor, arguments: AutoencoderArguments) -> Tensor:
    """What the loss has beside the paper's: the error of the pixels and that of the recalled features."""
    pixels = (cells.float() - targets).square().mean()
    return arguments.pixel_weight * pixels + arguments.feature_weight * recalled.mean()


def _mean_features(features: FeatureStore, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and deviation (C,) of the mean features of some cells."""
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    means = np.concatenate([features.maps[block].astype(np.float32).mean(axis=(2, 3)) for block in blocks])
    return torch.from_numpy(means.mean(axis=0)), torch.from_numpy(means.std(axis=0) + 1e-6)
