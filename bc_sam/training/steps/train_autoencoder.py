"""Stage 2: the autoencoder learns an embedding that keeps the cell's morphology and discards the laboratory."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, Dataset

from bc_sam.config.arguments import AutoencoderArguments
from bc_sam.data.store import CellStore
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.feature_store import FeatureStore
from bc_sam.training.engine.global_batch import gather, synchronize_batch_norm
from bc_sam.training.engine.loop import SizedDataset, TrainingStep, batches_on_device
from bc_sam.training.engine.sampling import Order, balanced
from bc_sam.training.steps.losses import autoencoder_loss, linear_mmd, ssim
from bc_sam.utils.torch_utils import seeded

_BLOCK = 256

# Label smoothing of the auxiliary classification.
_SMOOTHING = 0.1


class AuxiliaryHeads(nn.Module):
    """The autoencoder with linear heads that predict the mean feature and, optionally, the class from the embedding.

    The heads are only used in training. Pixel reconstruction favours large and bright structures, whereas those that
    distinguish the classes, such as granules, are small in pixels but prominent in SAM's features.

    Args:
        autoencoder: Trained in place.
        mean: (C,) mean over cells of their mean features.
        std: (C,) standard deviation over cells of their mean features.
        n_labels: Number of classes to predict; 0 for no such head.
        seed: Seed of the heads' initial weights.
    """

    def __init__(
        self, autoencoder: CrossDomainAutoencoder, mean: Tensor, std: Tensor, n_labels: int, seed: int
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.mean, self.std = mean, std
        with seeded(seed):
            self.recall = nn.Linear(autoencoder.latent_dim, len(mean))
            self.classify = nn.Linear(autoencoder.latent_dim, n_labels) if n_labels else None

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Returns latents, cells, errors and logits for feature maps (B, C, h, w).

        Returns:
            Latents (B, d), cells (B, 3, 128, 128), squared errors of the reconstructed features (B,), and class logits
            (B, n_labels) or ``None``.
        """
        latents, cells = self.autoencoder(maps)
        expected = (maps.mean(dim=(2, 3)) - self.mean.to(maps.device)) / self.std.to(maps.device)
        errors = (self.recall(latents).float() - expected.float()).square().mean(dim=1)
        return latents, cells, errors, None if self.classify is None else self.classify(latents)


class CellFeatures(Dataset):
    """Feature map (C, h, w) float16, target (3, 128, 128) uint8, domain and label (-1 if unknown) of each cell."""

    def __init__(self, features: FeatureStore, rows: np.ndarray, cells: CellStore) -> None:
        self.features = features
        self.rows = rows
        self.domains, self.labels = cells.domains[rows], cells.labels[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int, int]:
        row = self.rows[index]
        target = torch.tensor(self.features.targets[row]).permute(2, 0, 1)
        return torch.tensor(self.features.maps[row]), target, int(self.domains[index]), int(self.labels[index])


@dataclass(frozen=True)
class ViewFeatures:
    """Features of augmented views of the training cells.

    Attributes:
        features: Feature maps and targets of the views.
        cells: The views.
        rows: (m,) the cell of each view.
    """

    features: FeatureStore
    cells: CellStore
    rows: np.ndarray


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
        cells: All cells, for their domains and labels.
        arguments: Settings of the stage.
        n_labels: Number of classes.
        seed: Seed of the auxiliary heads.
        anchor: Embeddings of laboratories whose images are not available, with which those of the cells are aligned.
        views: Augmented views of the training cells, on which to train too.
    """

    name = "Stage 2: autoencoder"

    def __init__(
        self,
        autoencoder: CrossDomainAutoencoder,
        features: FeatureStore,
        rows: np.ndarray,
        validation_rows: np.ndarray,
        cells: CellStore,
        arguments: AutoencoderArguments,
        *,
        n_labels: int,
        seed: int,
        anchor: Anchor | None = None,
        views: ViewFeatures | None = None,
    ) -> None:
        self.arguments, self.anchor = arguments, anchor
        parts = [CellFeatures(features, rows, cells)]
        if views is not None:
            parts.append(CellFeatures(views.features, np.arange(len(views.cells)), views.cells))
        self.dataset = cast(SizedDataset, ConcatDataset(parts))
        self.domains = np.concatenate([part.domains for part in parts])
        self.validation = CellFeatures(features, validation_rows, cells)
        heads = n_labels if arguments.label_weight else 0
        self.module = AuxiliaryHeads(autoencoder, *_mean_features(features, rows), heads, seed=seed)
        synchronize_batch_norm(self.module)
        # The decoder's convolutions run faster in this layout, especially on CPUs, with identical results.
        autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def order(self) -> Order:
        """Returns an order in which every batch contains the domains in equal parts."""
        return balanced(self.domains)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor, Tensor], epoch: int) -> Tensor:
        """Returns the loss of a batch of `CellFeatures`."""
        maps, targets, domains, labels = batch
        latents, cells, feature_errors, logits = model(maps.float())
        global_batch = self._with_anchor(gather(latents), gather(domains))
        targets = targets.float() / 255
        paper = autoencoder_loss(cells, targets, *global_batch, self.arguments.mmd_weight)
        return paper + self._auxiliary_loss(cells, targets, feature_errors) + self._label_loss(logits, labels)

    def validate(self, model: nn.Module) -> float | None:
        """Returns the loss on the validation cells, with domain means over all of them."""
        data, arguments = self.validation, self.arguments
        if not len(data):
            return None
        latents, errors = [], []
        for maps, targets, _, labels in batches_on_device(data, arguments.batch_size, model):
            latent, cells, feature_errors, logits = model(maps.float())
            latents.append(latent)
            targets = targets.float() / 255
            loss = 1 - ssim(cells, targets) + self._auxiliary_loss(cells, targets, feature_errors)
            loss = loss + self._label_loss(logits, labels)
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

    def _label_loss(self, logits: Tensor | None, labels: Tensor) -> Tensor | float:
        """Returns the weighted cross-entropy of the cells with a label."""
        if logits is None:
            return 0.0
        labelled = (labels >= 0).sum().clamp(min=1)
        total = F.cross_entropy(logits.float(), labels, ignore_index=-1, reduction="sum", label_smoothing=_SMOOTHING)
        return self.arguments.label_weight * total / labelled


def _mean_features(features: FeatureStore, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation (C,) of the mean features of given cells."""
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    means = np.concatenate([features.maps[block].astype(np.float32).mean(axis=(2, 3)) for block in blocks])
    return torch.from_numpy(means.mean(axis=0)), torch.from_numpy(means.std(axis=0) + 1e-6)
