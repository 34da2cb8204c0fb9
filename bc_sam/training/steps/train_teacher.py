"""The teachers of knowledge distillation: small convolutional networks, which need fewer images than a SAM."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bc_sam.config.network import IMAGENET_MEAN, IMAGENET_STD, BackboneConfig, NetworkConfig, Size
from bc_sam.networks.backbones import Backbone
from bc_sam.networks.slca import ImageClassifier
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

#: Backbone of a teacher: a ResNet of 1.5 million parameters.
TEACHER_BACKBONE = BackboneConfig("resnet", _SIZES)


class Teacher(nn.Module):
    """A plain convolutional network that sees an image at a given size.

    It takes images as a SAM does and converts them to the normalization of the comparison networks, so that
    `network` can be saved and compared as one of them.

    Args:
        size: Side of the network's input, pixels.
        n_labels: Number of classes.
        mean: Mean (3,) by which the images are normalized, 0..255.
        std: Standard deviation (3,) by which they are normalized, 0..255.
        seed: Seed of the initial weights.
    """

    gain: Tensor
    offset: Tensor

    def __init__(self, size: int, n_labels: int, mean: tuple[float, ...], std: tuple[float, ...], seed: int) -> None:
        super().__init__()
        self.size = size
        with seeded(seed):
            self.network = ImageClassifier(Backbone(TEACHER_BACKBONE), n_labels)
        # Convolutions run faster in this layout, with identical results.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ours, theirs = (torch.tensor(values)[:, None, None] for values in (mean, IMAGENET_MEAN))
        own_std, their_std = (torch.tensor(values)[:, None, None] for values in (std, IMAGENET_STD))
        self.register_buffer("gain", own_std / their_std, persistent=False)
        self.register_buffer("offset", (ours - theirs) / their_std, persistent=False)

    def config(self, n_labels: int) -> NetworkConfig:
        """Returns the config of `network` as a comparison network."""
        return NetworkConfig("resnet", TEACHER_BACKBONE, classes=tuple(range(n_labels)), input_size=self.size)

    def forward(self, images: Tensor) -> Tensor:
        """Returns class logits (B, n_labels) of normalized images (B, 3, S, S)."""
        images = images * self.gain + self.offset
        images = F.interpolate(images, self.size, mode="bilinear", antialias=True)
        empty = images.new_empty(0)
        return self.network(images.contiguous(memory_format=torch.channels_last), empty, empty)


def train_teacher(views: LabelledViews, index: int, checkpoints: Checkpoints | None = None) -> Teacher:
    """Trains a teacher on labelled cells.

    Args:
        views: The labelled cells.
        index: Which of the teachers in `views.arguments`.
        checkpoints: Checkpoints of the training.

    Returns:
        The frozen teacher of the best epoch, in eval mode.
    """
    arguments, config = views.arguments, views.config
    size = arguments.teacher_sizes[index]
    teacher = Teacher(size, len(config.labels), config.image_mean, config.image_std, views.seed + index)
    synchronize_batch_norm(teacher)

    def loss(model: nn.Module, batch: Views) -> Tensor:
        return F.cross_entropy(model(batch.images).float(), batch.labels, label_smoothing=arguments.label_smoothing)

    views.fit(
        teacher,
        loss,
        f"Teacher, {size} px",
        epochs=arguments.teacher_epochs,
        learning_rate=arguments.teacher_rate,
        checkpoints=checkpoints,
        validate=teacher,
    )
    return teacher.requires_grad_(False)


@torch.no_grad()
def taught(teachers: list[Teacher], images: Tensor) -> Tensor:
    """Returns the mean probabilities (B, n_labels) of teachers for normalized images (B, 3, S, S)."""
    return torch.stack([teacher(images).float().softmax(dim=1) for teacher in teachers]).mean(dim=0)
