"""The teacher of knowledge distillation: a small convolutional network, which needs fewer images than a SAM."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bc_sam.config.network import BackboneConfig, Size
from bc_sam.networks.backbones import Backbone, pooled
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.engine.global_batch import synchronize_batch_norm
from bc_sam.training.steps.train_labels import LabelledViews, Views
from bc_sam.utils.torch_utils import seeded

_SIZES: dict[str, Size] = {
    "embedding_size": 48,
    "hidden_sizes": (48, 96, 192),
    "depths": (2, 2, 2),
    "layer_type": "basic",
}

# Half the resolution takes a quarter of the compute and still resolves granules.
_DOWNSCALING = 2


class Teacher(nn.Module):
    """A ResNet of a million parameters that sees the center crop of an image, at half its resolution.

    Args:
        window: Side of the center crop, pixels.
        n_labels: Number of classes.
        seed: Seed of the initial weights.
    """

    def __init__(self, window: int, n_labels: int, seed: int) -> None:
        super().__init__()
        self.window = window
        with seeded(seed):
            self.backbone = Backbone(BackboneConfig("resnet", _SIZES))
            self.head = nn.Linear(self.backbone.channels, n_labels)
        # Convolutions run faster in this layout, with identical results.
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Returns class logits (B, n_labels) of normalised images (B, 3, S, S), S at least the window."""
        edge = (images.shape[-1] - self.window) // 2
        middle = images[:, :, edge : edge + self.window, edge : edge + self.window]
        small = F.avg_pool2d(middle, _DOWNSCALING).contiguous(memory_format=torch.channels_last)
        return self.head(pooled(self.backbone(small)))


def train_teacher(views: LabelledViews, checkpoints: Checkpoints | None = None) -> Teacher:
    """Trains a teacher on labelled cells.

    Args:
        views: The labelled cells.
        checkpoints: Checkpoints of the training.

    Returns:
        The frozen teacher of the best epoch, in eval mode.
    """
    arguments = views.arguments
    teacher = Teacher(arguments.window, len(views.config.labels), views.seed)
    synchronize_batch_norm(teacher)

    def loss(model: nn.Module, batch: Views) -> Tensor:
        return F.cross_entropy(model(batch.images).float(), batch.labels, label_smoothing=arguments.label_smoothing)

    views.fit(
        teacher,
        loss,
        "Teacher",
        window=arguments.window,
        epochs=arguments.teacher_epochs,
        learning_rate=arguments.teacher_rate,
        checkpoints=checkpoints,
        validate=teacher,
    )
    return teacher.requires_grad_(False)
