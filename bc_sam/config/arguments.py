"""What can be set: one frozen dataclass for each training stage, for the run, and for the model folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from bc_sam.config.base import PAPER_DECODER_CHANNELS, Precision, Protocol, Schedule, require
from bc_sam.config.network import Method, NetworkArguments
from bc_sam.utils.json_config import JsonConfig


@dataclass(frozen=True)
class SegmentationArguments(JsonConfig):
    """Stage 1: SAM learns cell masks through LoRA (BC-SAM, section 2.1). Defaults are the paper's.

    Attributes:
        lora_rank: Rank of the adaptation of q and of v in every block of the encoder; the scaling factor is 1.
        train_encoder: Also train the encoder's own weights. For a base that has no trained weights.
        epochs: Passes over the images that have a mask.
        warmup_epochs: Epochs of linear warm-up before the cosine.
        batch_size: Images a step, over all processes.
        learning_rate: Peak rate of AdamW.
        weight_decay: Decay of AdamW.
        dice_weight: Weight of the Dice loss; cross-entropy has the rest.
        colour_jitter: Half-range of random brightness, contrast, saturation and hue-like channel gains; 0 is none.
        max_grad_norm: Gradients longer than this are shortened to it; ``None`` leaves them.
        patience: Epochs without a better validation loss after which the stage stops; ``None`` goes on.
    """

    lora_rank: int = 4
    train_encoder: bool = False
    epochs: int = 150
    warmup_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.1
    dice_weight: float = 0.8
    colour_jitter: float = 0.0
    max_grad_norm: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        require(self.lora_rank > 0, f"lora_rank must be positive, not {self.lora_rank}.")
        require(self.epochs >= 0, f"Stage 1 cannot train for {self.epochs} epochs.")
        require(self.batch_size > 0, f"batch_size must be positive, not {self.batch_size}.")
        require(0 <= self.dice_weight <= 1, f"dice_weight must lie in 0..1, not {self.dice_weight}.")

    def schedule(self) -> Schedule:
        """Returns the optimization settings of the stage."""
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_epochs=self.warmup_epochs,
            max_grad_norm=self.max_grad_norm,
            patience=self.patience,
        )


@dataclass(frozen=True)
class ViewArguments(JsonConfig):
    """How far views of a cell go from it: what other microscopes, lamps and stains may show.

    Attributes:
        smallest: Least enlargement of a view.
        largest: Most enlargement of a view.
        shift: Most that a view is moved, as a share of half its side.
        stain: Most strength of the change of stain, of which each view draws its share; 0 is none. At 0.8 a channel's
            optical density becomes 0.45 to 2.2 times what it was at most: nuclei are blue in one laboratory and red in
            another.
        background_stain_prob: Probability, 0..1, that a view's background, the red cells, is stained differently from
            the cell in its middle.
        slide: Most that a slide is darkened in a channel, optical density.
        focus: Strength of blur and sharpening, 0..1.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = {"surroundings": "background_stain_prob"}

    smallest: float = 0.7
    largest: float = 1.35
    shift: float = 0.06
    stain: float = 0.8
    background_stain_prob: float = 0.5
    slide: float = 0.3
    focus: float = 0.9

    def __post_init__(self) -> None:
        require(0 < self.smallest <= self.largest, f"smallest must not exceed largest: {self.smallest}.")
        require(
            0 <= self.background_stain_prob <= 1,
            f"background_stain_prob must be in 0..1, not {self.background_stain_prob}.",
        )


@dataclass(frozen=True)
class PretrainingArguments(JsonConfig):
    """How a new small SAM learns to see cells before the stages: by classes, masks and a teacher at once.

    Attributes:
        window: Side of the middle of the image that is looked at first, pixels; fewer patches learn faster.
        window_epochs: Epochs on the window.
        epochs: Epochs on the whole image, afterwards.
        batch_size: Images a step, over all processes.
        learning_rate: Peak rate of AdamW on the window; a third of it on the whole image.
        weight_decay: Decay of AdamW.
        mask_weight: Weight of the loss of masks; that of classes has 1.
        label_smoothing: Share of each label that is spread over all classes, 0..1.
        teacher_epochs: Epochs of the teacher, a small convolutional network; 0 does without it.
        teacher_rate: Peak rate of the teacher.
        distillation_weight: Weight of the teacher's prediction in the target, 0..1; the label has the rest.
        sampling_temperature: 0 samples laboratories in proportion to their size, 1 samples them uniformly.
        view: How far the views go from the cells.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = {
        "evenness": "sampling_temperature",
        "teaching": "distillation_weight",
    }

    window: int = 144
    window_epochs: int = 45
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    mask_weight: float = 0.5
    label_smoothing: float = 0.1
    teacher_epochs: int = 35
    teacher_rate: float = 2e-3
    distillation_weight: float = 0.5
    sampling_temperature: float = 0.5
    view: ViewArguments = field(default_factory=ViewArguments)

    def __post_init__(self) -> None:
        require(
            0 <= self.sampling_temperature <= 1,
            f"sampling_temperature must be in 0..1, not {self.sampling_temperature}.",
        )
        require(
            0 <= self.distillation_weight <= 1, f"distillation_weight must be in 0..1, not {self.distillation_weight}."
        )


@dataclass(frozen=True)
class AutoencoderArguments(JsonConfig):
    """Stage 2: the cross-domain autoencoder (BC-SAM, section 2.2). Defaults are the paper's.

    Attributes:
        latent_dim: Numbers that a cell is squeezed to.
        decoder_channels: Widths of the seven transposed convolutions before the last one.
        target_size: Side of the reconstructed cell, pixels. The decoder's strides make 128.
        epochs: Passes over the images.
        warmup_steps: Steps of linear warm-up, at most a fifth of all steps.
        batch_size: Images a step, over all processes.
        learning_rate: Peak rate of AdamW.
        weight_decay: Decay of AdamW.
        mmd_weight: Weight of the distance between the domains' mean latents; 1 - SSIM has weight 1.
        feature_weight: Weight of the error with which a line tells the mean feature from the latent. In the paper, and
            by default, it is 0: only what can be drawn is kept.
        pixel_weight: Weight of the squared error of the drawn pixels, which are 0..1. In the paper, and by default, it
            is 0. SSIM alone hardly tells a decoder that cannot draw yet in which direction to go.
        max_grad_norm: Gradients longer than this are shortened to it; ``None`` leaves them.
        patience: Epochs without a better validation loss after which the stage stops; ``None`` goes on.
    """

    latent_dim: int = 50
    decoder_channels: tuple[int, ...] = PAPER_DECODER_CHANNELS
    target_size: int = 128
    epochs: int = 10
    warmup_steps: int = 500
    batch_size: int = 128
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    mmd_weight: float = 5.0
    feature_weight: float = 0.0
    pixel_weight: float = 0.0
    max_grad_norm: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        require(self.latent_dim > 0, f"latent_dim must be positive, not {self.latent_dim}.")
        require(len(self.decoder_channels) == 7, f"decoder_channels needs 7 widths, not {len(self.decoder_channels)}.")
        require(self.target_size == 128, f"target_size must be 128, which the decoder makes; not {self.target_size}.")
        require(self.batch_size > 0, f"batch_size must be positive, not {self.batch_size}.")

    def schedule(self) -> Schedule:
        """Returns the optimization settings of the stage."""
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            max_grad_norm=self.max_grad_norm,
            patience=self.patience,
        )


@dataclass(frozen=True)
class ClassifierArguments(JsonConfig):
    """Stage 3: classical classifiers on the latents (BC-SAM, section 2.3).

    Attributes:
        names: Classifiers to fit; see `bc_sam.classifiers.kinds.KINDS`.
        default: The one that `predict` uses unless told otherwise.
        rendered: Rendered cells of each class, each of a laboratory of its own, from which the classifiers learn too
            that learn from all data sets; see `bc_sam.training.synthetic_cells`. The paper has none.
    """

    names: tuple[str, ...] = ("rf", "svm_poly", "xgboost", "svm_rbf", "ann", "logistic")
    default: str = "svm_rbf"
    rendered: int = 0

    def __post_init__(self) -> None:
        require(self.rendered >= 0, f"rendered must not be negative: {self.rendered}.")
        require(bool(self.names), "Name at least one classifier.")
        require(self.default in self.names, f"The default classifier {self.default!r} is not among {self.names}.")


@dataclass(frozen=True)
class TrainingArguments(JsonConfig):
    """A whole training run.

    Attributes:
        base: Any SAM: a Hub id, a folder, an original ``.pth`` checkpoint, or ``"tiny"`` for a new small one.
        base_revision: Revision of the base on the Hub.
        image_size: Side of the square that SAM sees, pixels.
        seed: Seed of the folds, the initial weights and the shuffling.
        folds: Parts that each data set is cut into.
        protocol: ``"strict"`` keeps the test fold out of every stage; ``"paper"`` shows it to stages 1 and 2;
            ``"leave-one-out"`` keeps a whole laboratory out of every stage, each in turn, and tests on it.
        mixed_precision: ``"auto"`` takes what ``accelerate launch`` was told, else bf16 where the processor computes
            in it.
        validation: Share of the training cells, 0..0.5, that stages 1 and 2 do not learn from but choose their best
            epoch by; stage 3 does not see them either.
        gradient_accumulation_steps: Parts that each batch is computed in, to save memory.
        checkpoint_steps: Steps between two checkpoints; there is one after each epoch too.
        label_fraction: Share of the labels that stage 3, or a network, learns from: of each class in each data set,
            at least one. A smaller share is part of a larger one.
        keep_pictures: Whether the model keeps small pictures of the cells whose latents it stores. Whoever gets the
            model can look at them, so it is off unless asked for: they may be a hospital's patients' cells.
        method: ``"bc-sam"``, or a network that it is compared with.
        segmentation: Stage 1.
        autoencoder: Stage 2.
        classifiers: Stage 3.
        network: The network, of the other methods.
    """

    base: str = "facebook/sam-vit-base"
    base_revision: str | None = None
    image_size: int = 224
    seed: int = 1234
    folds: int = 5
    protocol: Protocol = "strict"
    mixed_precision: Precision = "auto"
    validation: float = 0.0
    gradient_accumulation_steps: int = 1
    checkpoint_steps: int = 200
    label_fraction: float = 1.0
    keep_pictures: bool = False
    method: Method = "bc-sam"
    segmentation: SegmentationArguments = field(default_factory=SegmentationArguments)
    autoencoder: AutoencoderArguments = field(default_factory=AutoencoderArguments)
    classifiers: ClassifierArguments = field(default_factory=ClassifierArguments)
    network: NetworkArguments = field(default_factory=NetworkArguments)

    def __post_init__(self) -> None:
        require(0 < self.label_fraction <= 1, f"label_fraction must lie in 0..1, not {self.label_fraction}.")
        require(self.folds >= 2, f"folds must be at least 2, not {self.folds}.")
        require(0 <= self.validation <= 0.5, f"validation must lie in 0..0.5, not {self.validation}.")
        require(
            self.gradient_accumulation_steps > 0 and self.checkpoint_steps > 0,
            "gradient_accumulation_steps and checkpoint_steps must be positive.",
        )
        require(
            self.image_size > 0 and self.image_size % 16 == 0,
            f"image_size must be a multiple of SAM's 16-pixel patches, not {self.image_size}.",
        )


def _adaptation_training() -> TrainingArguments:
    return TrainingArguments(
        segmentation=SegmentationArguments(epochs=10, warmup_epochs=1, batch_size=8),
        autoencoder=AutoencoderArguments(epochs=5, warmup_steps=10, batch_size=32, learning_rate=1e-4),
    )


@dataclass(frozen=True)
class AdaptationArguments(JsonConfig):
    """The adaptation of a finished model to a new laboratory.

    Attributes:
        labels_per_class: Most labels of each class to learn from: ``None`` for all, 0 for none.
        allowed_labels: Labels that can occur in the new laboratory; empty for all. It predicts no others.
        learn_from: ``"both"`` fits the classifiers on the old laboratories' stored latents and the new cells, each
            class of the new laboratory weighing as much as that of the old ones; ``"new"`` on the new cells alone.
        training: Numbers of the stages; its base, image size and latents are those of the model.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = {"among": "allowed_labels"}

    labels_per_class: int | None = None
    allowed_labels: tuple[str, ...] = ()
    learn_from: Literal["both", "new"] = "both"
    training: TrainingArguments = field(default_factory=_adaptation_training)

    def __post_init__(self) -> None:
        negative = self.labels_per_class is not None and self.labels_per_class < 0
        require(not negative, f"labels_per_class must not be negative: {self.labels_per_class}.")
