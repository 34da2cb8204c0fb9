"""Before the stages: a new small SAM learns to see cells, by their classes, their masks and a teacher at once."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamModel

from bc_sam.networks.sam.encoding import cell_logits, encode, freeze_unused
from bc_sam.networks.sam.initialization import mimetic_init
from bc_sam.networks.sam.resizing import resize_sam
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.steps.losses import segmentation_loss
from bc_sam.training.steps.train_labels import Lessons, Views
from bc_sam.training.steps.train_teacher import Teacher, train_teacher
from bc_sam.utils.torch_utils import seeded

# Images whose patches are whitened.
_PATCHED = 300


class CellNamer(nn.Module):
    """A SAM with a linear head on the mean of its feature map.

    Args:
        sam: The model, trained in place.
        n_labels: Classes.
        seed: Seed of the head.
    """

    def __init__(self, sam: SamModel, n_labels: int, seed: int) -> None:
        super().__init__()
        self.sam = sam
        width = sam.config.vision_config.hidden_size  # type: ignore[union-attr]
        with seeded(seed):
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, n_labels)

    def forward(self, images: Tensor, outlined: Tensor) -> tuple[Tensor, Tensor]:
        """Returns class logits (B, n_labels) and cell logits (k, S/4, S/4).

        Args:
            images: (B, 3, S, S), normalised.
            outlined: (k,) positions in the batch of the images to outline.
        """
        features = encode(self.sam, images)
        return self._named(features), cell_logits(self.sam, features[outlined])

    def name(self, images: Tensor) -> Tensor:
        """Returns class logits (B, n_labels) alone."""
        return self._named(encode(self.sam, images))

    def _named(self, features: Tensor) -> Tensor:
        return self.head(self.norm(features.mean(dim=(2, 3))))


def pretrain(
    sam: SamModel, lessons: Lessons, *, checkpoints: tuple[Checkpoints, Checkpoints, Checkpoints] | None = None
) -> tuple[SamModel, list[dict[str, float]]]:
    """Trains a whole SAM on labelled cells, first on the middle of the images, then on all of them.

    The original needs none of this, since its base has seen a billion masks. A base from scratch has seen nothing, and
    masks alone do not teach it granules and chromatin. A convolutional teacher, whose word on each view counts beside
    the label, makes up for few images (Touvron et al., "Training data-efficient image transformers & distillation
    through attention", ICML 2021).

    Args:
        sam: A SAM at the size of the stored cells.
        lessons: The cells, and how they are shown.
        checkpoints: Where to keep checkpoints of the teacher, and of the first part and the second.

    Returns:
        The SAM, in eval mode, and the loss of each epoch of both parts.
    """
    arguments, cells = lessons.arguments, lessons.cells
    of_teacher, of_window, of_whole = checkpoints or (None, None, None)
    teacher = train_teacher(lessons, of_teacher) if arguments.teacher_epochs else None
    mimetic_init(sam, lessons.sample(_PATCHED), lessons.seed)
    namer = CellNamer(resize_sam(sam, arguments.window), len(lessons.config.labels), lessons.seed)
    history = _learn(namer, lessons, teacher, arguments.window, of_window)
    namer.sam = resize_sam(namer.sam.cpu(), cells.image_size)
    history += _learn(namer, lessons, teacher, cells.image_size, of_whole)
    return namer.sam.eval().requires_grad_(False), history


def _learn(
    namer: CellNamer, lessons: Lessons, teacher: Teacher | None, window: int, checkpoints: Checkpoints | None
) -> list[dict[str, float]]:
    """One part of the training."""
    arguments = lessons.arguments
    whole = window == lessons.cells.image_size
    namer.requires_grad_(True)
    freeze_unused(namer.sam)

    def loss(model: nn.Module, views: Views) -> Tensor:
        # Where no mask is known one is drawn all the same, so that every parameter gets its gradient, which is zero.
        outlined = views.has_mask.nonzero()[:, 0] if views.has_mask.any() else torch.zeros_like(views.labels[:1])
        named, drawn = model(views.images, outlined)
        masks = F.interpolate(views.masks[outlined][:, None], size=drawn.shape[-2:], mode="nearest-exact")[:, 0]
        weight = arguments.mask_weight * views.has_mask.any()
        targets = _targets(views, named.shape[1], arguments.label_smoothing)
        if teacher is not None:
            with torch.no_grad(), lessons.accelerator.autocast():
                targets = targets.lerp(teacher(views.images).float().softmax(dim=1), arguments.teaching)
        return F.cross_entropy(named.float(), targets) + weight * segmentation_loss(drawn.float(), masks)

    return lessons.teach(
        namer,
        loss,
        f"Learning to see, {window} px",
        window=window,
        epochs=arguments.epochs if whole else arguments.window_epochs,
        learning_rate=arguments.learning_rate / (3 if whole else 1),
        checkpoints=checkpoints,
        validate=namer.name if whole else None,
    )


def _targets(views: Views, n_labels: int, smoothing: float) -> Tensor:
    """Probabilities (B, n_labels) that the labels stand for."""
    return F.one_hot(views.labels, n_labels).float() * (1 - smoothing) + smoothing / n_labels
