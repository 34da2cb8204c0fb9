"""Stage 2: the autoencoder learns an embedding that keeps the cell's morphology and discards the laboratory."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from bc_sam.config.arguments import AutoencoderArguments
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.training.engine.global_batch import gather, synchronize_batch_norm
from bc_sam.training.engine.loop import TrainingStep, batches_on_device
from bc_sam.training.engine.sampling import Order, balanced
from bc_sam.training.steps.losses import autoencoder_loss, linear_mmd, ssim
from bc_sam.utils.torch_utils import seeded

_BLOCK = 256


class FeatureReconstructionHead(nn.Module):
    """The autoencoder with an auxiliary linear head that predicts the mean feature from the embedding.

    The head is only used in training. Pixel reconstruction favours large and bright structures, whereas those that
    distinguish the classes, such as granules, are small in pixels but prominent in SAM's features.

    Args:
        autoencoder: Trained in place.
        mean: (C,) mean over cells of their mean features.
        std: (C,) standard deviation over cells of their mean features.
        seed: Seed of the head's initial weights.
    """

    def __init__(self, autoencoder: CrossDomainAutoencoder, mean: Tensor, std: Tensor, seed: int) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.mean, self.std = mean, std
        with seeded(seed):
            self.recall = nn.Linear(autoencoder.latent_dim, len(mean))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns latents (B, d), cells (B, 3, 128, 128) and squared errors of the reconstructed features (B,)."""
        latents, cells = self.autoencoder(maps)
        expected = (maps.mean(dim=(2, 3)) - self.mean.to(maps.device)) / self.std.to(maps.device)
        return latents, cells, (self.recall(latents).float() - expected.float()).square().mean(dim=1)


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
    """Fixed embeddings of other laboratories' cells, with which those of new cells are aligned.

    Attributes:
        latents: (m, d) float32.
        domains: (m,) integers, disjoint from the domains of the training cells.
    """

    latents: np.ndarray
    domains: np.ndarray

    def join(self, latents: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        """Returns latents (B + m, d) and domains (B + m,) of a batch followed by the anchor."""
        own = torch.from_numpy(self.latents).to(latents), torch.from_numpy(self.domains).to(domains)
        return torch.cat([latents, own[0]]), torch.cat([domains, own[1]])


class AutoencoderStep(TrainingStep):
    """Trains the autoencoder on cells of all domains, without their labels (BC-SAM, section 2.2).

    Args:
        autoencoder: Trained in place.
        features: Feature maps and targets of all cells.
        rows: Training cells.
        validation_rows: Validation cells, by which the best epoch is chosen; may be empty.
        domains: (n,) domain of every cell.
        arguments: Settings of the stage.
        seed: Seed of the feature reconstruction head.
        anchor: Embeddings of laboratories whose images are not available, with which those of the cells are aligned.
    """

    name = "Stage 2: autoencoder"

    def __init__(
        self,
        autoencoder: CrossDomainAutoencoder,
        features: FeatureStore,
        rows: np.ndarray,
        validation_rows: np.ndarray,
        domains: np.ndarray,
        arguments: AutoencoderArguments,
        seed: int,
        anchor: Anchor | None = None,
    ) -> None:
        self.arguments, self.anchor = arguments, anchor
        self.dataset = CellFeatures(features, rows, domains)
        self.validation = CellFeatures(features, validation_rows, domains)
        self.module = FeatureReconstructionHead(autoencoder, *_mean_features(features, rows), seed=seed)
        synchronize_batch_norm(self.module)
        # The decoder's convolutions run faster in this layout, especially on CPUs, with identical results.
        autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def order(self) -> Order:
        """Returns an order in which every batch contains the domains in equal parts."""
        return balanced(self.dataset.domains)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor], epoch: int) -> Tensor:
        """Returns the loss of a batch of `CellFeatures`."""
        maps, targets, domains = batch
        latents, cells, feature_errors = model(maps.float())
        global_batch = self._with_anchor(gather(latents), gather(domains))
        targets = targets.float() / 255
        paper = autoencoder_loss(cells, targets, *global_batch, self.arguments.mmd_weight)
        return paper + self._auxiliary_loss(cells, targets, feature_errors)

    def validate(self, model: nn.Module) -> float | None:
        """Returns the loss on the validation cells, with domain means over all of them."""
        data, arguments = self.validation, self.arguments
        if not len(data):
            return None
        latents, errors = [], []
        for maps, targets, _ in batches_on_device(data, arguments.batch_size, model):
            latent, cells, feature_errors = model(maps.float())
            latents.append(latent)
            targets = targets.float() / 255
            loss = 1 - ssim(cells, targets) + self._auxiliary_loss(cells, targets, feature_errors)
            errors.append(loss * len(maps))
        embeddings = torch.cat(latents)
        domains = torch.from_numpy(data.domains).to(embeddings.device)
        distance = linear_mmd(*self._with_anchor(embeddings, domains))
        return float(torch.stack(errors).sum() / len(data) + arguments.mmd_weight * distance)

    def _with_anchor(self, latents: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        return (latents, domains) if self.anchor is None else self.anchor.join(latents, domains)

    def _auxiliary_loss(self, cells: Tensor, targets: Tensor, feature_errors: Tensor) -> Tensor:
        """Returns the terms added to the paper's loss: errors of the pixels and of the reconstructed features."""
        pixels = (cells.float() - targets).square().mean()
        return self.arguments.pixel_weight * pixels + self.arguments.feature_weight * feature_errors.mean()


def _mean_features(features: FeatureStore, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation (C,) of the mean features of given cells."""
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    means = np.concatenate([features.maps[block].astype(np.float32).mean(axis=(2, 3)) for block in blocks])
    return torch.from_numpy(means.mean(axis=0)), torch.from_numpy(means.std(axis=0) + 1e-6)
