"""Pretraining of a new small SAM on labelled cells: classification, segmentation and knowledge distillation."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamModel

from bc_sam.networks.sam.encoding import cell_logits, encode, freeze_unused
from bc_sam.networks.sam.initialization import mimetic_init
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.steps.losses import segmentation_loss
from bc_sam.training.steps.train_labels import LabelledViews, Views
from bc_sam.training.steps.train_teacher import Teacher, taught, train_teacher
from bc_sam.utils.torch_utils import seeded

# Number of images from whose patches the whitening is computed.
_WHITENING_IMAGES = 300


class CellClassifier(nn.Module):
    """A SAM with a linear head on the mean of its feature map.

    Args:
        sam: The model, trained in place.
        n_labels: Number of classes.
        seed: Seed of the head.
    """

    def __init__(self, sam: SamModel, n_labels: int, seed: int) -> None:
        super().__init__()
        self.sam = sam
        width = sam.config.vision_config.hidden_size  # type: ignore[union-attr]
        with seeded(seed):
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, n_labels)

    def forward(self, images: Tensor, segmented: Tensor) -> tuple[Tensor, Tensor]:
        """Returns class logits (B, n_labels) and cell logits (k, S/4, S/4).

        Args:
            images: (B, 3, S, S), normalized.
            segmented: (k,) indices in the batch of the images to segment.
        """
        features = encode(self.sam, images)
        return self._classify(features), cell_logits(self.sam, features[segmented])

    def class_logits(self, images: Tensor) -> Tensor:
        """Returns only class logits (B, n_labels)."""
        return self._classify(encode(self.sam, images))

    def _classify(self, features: Tensor) -> Tensor:
        return self.head(self.norm(features.mean(dim=(2, 3))))


class PretrainingCheckpoints(NamedTuple):
    """Checkpoints of a pretraining.

    Attributes:
        teachers: Of each teacher.
        sam: Of the SAM.
    """

    teachers: tuple[Checkpoints, ...]
    sam: Checkpoints


def pretrain(
    sam: SamModel, views: LabelledViews, *, checkpoints: PretrainingCheckpoints | None = None
) -> tuple[SamModel, list[Teacher], list[dict[str, float]]]:
    """Trains a whole SAM on labelled cells.

    The original needs no pretraining, since its base was trained on a billion masks. A base with random weights does
    not learn granules and chromatin from masks alone. Distillation from convolutional teachers makes up for few
    images (Touvron et al., "Training data-efficient image transformers & distillation through attention", ICML 2021).

    Args:
        sam: A SAM at the size of the stored cells.
        views: The labelled cells and their augmentation.
        checkpoints: Checkpoints of the trainings.

    Returns:
        The SAM, in eval mode; the teachers; and the loss of each epoch of the SAM.
    """
    arguments = views.arguments
    of_teachers = checkpoints.teachers if checkpoints else (None,) * len(arguments.teacher_sizes)
    teachers = [train_teacher(views, index, kept) for index, kept in enumerate(of_teachers)]
    mimetic_init(sam, views.sample(_WHITENING_IMAGES), views.seed)
    classifier = CellClassifier(sam, len(views.config.labels), views.seed)
    freeze_unused(classifier.sam)

    def loss(model: nn.Module, batch: Views) -> Tensor:
        # In a batch without masks one is predicted anyway, so that every parameter gets a gradient, which is zero.
        segmented = batch.has_mask.nonzero()[:, 0] if batch.has_mask.any() else torch.zeros_like(batch.labels[:1])
        logits, predicted = model(batch.images, segmented)
        masks = F.interpolate(batch.masks[segmented][:, None], size=predicted.shape[-2:], mode="nearest-exact")[:, 0]
        weight = arguments.mask_weight * batch.has_mask.any()
        targets = _targets(batch, logits.shape[1], arguments.label_smoothing)
        if teachers:
            with views.accelerator.autocast():
                targets = targets.lerp(taught(teachers, batch.images), arguments.distillation_weight)
        return F.cross_entropy(logits.float(), targets) + weight * segmentation_loss(predicted.float(), masks)

    history = views.fit(
        classifier,
        loss,
        "Pretraining",
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        checkpoints=checkpoints.sam if checkpoints else None,
        validate=classifier.class_logits,
    )
    return classifier.sam.eval().requires_grad_(False), teachers, history


def _targets(batch: Views, n_labels: int, smoothing: float) -> Tensor:
    """Returns smoothed one-hot targets (B, n_labels)."""
    return F.one_hot(batch.labels, n_labels).float() * (1 - smoothing) + smoothing / n_labels
