"""Training arguments: one frozen dataclass per stage, per run and per adaptation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from bc_sam.config.base import (
    MAX_SIZE,
    PAPER_DECODER_CHANNELS,
    SCHEDULE_RANGES,
    SEEDS,
    Precision,
    Protocol,
    Schedule,
    require,
    require_label_weights,
    require_ranges,
)
from bc_sam.config.network import Method, NetworkArguments
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.utils.json_config import JsonConfig

# Side of SAM's patches, and the smallest image of which the autoencoder's convolutions leave anything, pixels.
_PATCH, _SMALLEST_IMAGE = 16, 48


@dataclass(frozen=True)
class SegmentationArguments(JsonConfig):
    """Stage 1: fine-tuning of SAM with LoRA on cell masks (BC-SAM, section 2.1). Defaults are the paper's.

    Attributes:
        lora_rank: LoRA rank for the query and value projections of every encoder block; the scaling factor is 1.
        train_encoder: Whether to train the encoder's own weights too, for a base model without trained weights.
        epochs: Epochs over the images that have a mask.
        warmup_epochs: Epochs of linear warm-up before cosine decay.
        batch_size: Images per step, over all processes.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        dice_weight: Weight of the Dice loss, 0..1; the cross-entropy loss has the remainder.
        colour_jitter: Half-range of random brightness, contrast, saturation and per-channel gains; 0 disables it.
        max_grad_norm: Norm to which gradients are clipped; ``None`` disables clipping.
        patience: Epochs without a lower validation loss before early stopping; ``None`` disables it.
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
        ranges = {"lora_rank": (1, MAX_SIZE), "dice_weight": (0, 1), "colour_jitter": (0, 1)}
        require_ranges(self, {**SCHEDULE_RANGES, **ranges}, "segmentation")

    def schedule(self) -> Schedule:
        """Returns the optimization settings for the training loop."""
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
    """Augmentation strength: the variation between microscopes, illuminations and stains.

    Attributes:
        smallest: Minimum scale factor.
        largest: Maximum scale factor.
        shift: Maximum translation, as a fraction of half the image side.
        stain: Maximum strength of stain augmentation, of which each view draws a fraction; 0 disables it. At 0.8, a
            channel's optical density is scaled by 0.45 to 2.2 at most, as nuclei are blue in one laboratory and red in
            another.
        background_stain_prob: Probability that the background (the red cells) is stained differently from the central
            cell.
        slide: Maximum darkening of the slide per channel, optical density.
        focus: Strength of blur and sharpening, 0..1.
        gamma: Range of the logarithm of the power to which optical densities, relative to that of nuclei, are raised;
            how dark cytoplasm is beside the nucleus is a property of the stain.
        pale_prob: Probability that the stain is weaker, by a factor of 0.5 to 1.
        low_resolution_prob: Probability that the resolution is halved or reduced to a third.
        tight_crop_prob: Probability that all but a rectangle around the cell is empty, as beyond a tight crop.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = {"surroundings": "background_stain_prob"}

    smallest: float = 0.8
    largest: float = 1.25
    shift: float = 0.06
    stain: float = 0.8
    background_stain_prob: float = 0.5
    slide: float = 0.3
    focus: float = 0.9
    gamma: float = 0.45
    pale_prob: float = 0.5
    low_resolution_prob: float = 0.3
    tight_crop_prob: float = 0.25

    def __post_init__(self) -> None:
        parts = ("background_stain_prob", "pale_prob", "low_resolution_prob", "tight_crop_prob", "shift", "focus")
        strengths = ("stain", "slide", "gamma", "largest")
        require_ranges(self, dict.fromkeys(parts, (0, 1)) | dict.fromkeys(strengths, (0, 10)))
        require(
            0 < self.smallest <= self.largest,
            f"smallest must be positive and at most largest, but is {self.smallest}.",
        )


@dataclass(frozen=True)
class PretrainingArguments(JsonConfig):
    """Pretraining of a small SAM from scratch on labels, masks and distilled teachers, before stage 1.

    Attributes:
        epochs: Epochs over the labelled cells.
        batch_size: Images per step, over all processes.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        mask_weight: Weight of the mask loss relative to the classification loss.
        label_smoothing: Label smoothing, 0..1.
        teacher_sizes: Input size of each teacher, a small convolutional network, pixels: at least 32, and different;
            empty for no teachers.
        teacher_epochs: Epochs of each teacher.
        teacher_rate: Peak learning rate of the teachers.
        distillation_weight: Weight of the teachers' mean prediction in the target, 0..1; the label has the remainder.
        sampling_temperature: 0 samples the classes of each laboratory in proportion to their size, 1 samples them
            uniformly.
        view: Augmentation strength.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = {
        "evenness": "sampling_temperature",
        "teaching": "distillation_weight",
    }

    epochs: int = 22
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    mask_weight: float = 0.5
    label_smoothing: float = 0.1
    teacher_sizes: tuple[int, ...] = (64, 80)
    teacher_epochs: int = 16
    teacher_rate: float = 2e-3
    distillation_weight: float = 0.7
    sampling_temperature: float = 0.5
    view: ViewArguments = field(default_factory=ViewArguments)

    def __post_init__(self) -> None:
        sizes = self.teacher_sizes
        require(
            len(set(sizes)) == len(sizes) and all(32 <= size <= MAX_SIZE for size in sizes),
            f"teacher_sizes must be different sizes between 32 and {MAX_SIZE}, but are {sizes}.",
        )
        ranges = {
            "teacher_epochs": SCHEDULE_RANGES["epochs"],
            "teacher_rate": SCHEDULE_RANGES["learning_rate"],
            "mask_weight": (0, 1e6),
        }
        shares = ("sampling_temperature", "distillation_weight", "label_smoothing")
        require_ranges(self, {**SCHEDULE_RANGES, **ranges, **dict.fromkeys(shares, (0, 1))})


@dataclass(frozen=True)
class AutoencoderArguments(JsonConfig):
    """Stage 2: the cross-domain autoencoder (BC-SAM, section 2.2). Defaults are the paper's.

    Attributes:
        latent_dim: Dimension of the embedding.
        decoder_channels: Channels of the seven transposed convolutions before the last one.
        target_size: Side of the reconstructed cell, pixels; fixed at 128 by the decoder's strides.
        epochs: Epochs over the images.
        warmup_steps: Steps of linear warm-up, at most a fifth of all steps.
        batch_size: Images per step, over all processes.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        mmd_weight: Weight of the distance between the domains' mean latents, relative to the loss 1 - SSIM.
        feature_weight: Weight of the error of a linear reconstruction of the mean feature from the latent. 0, as in
            the paper, keeps only what the decoder can reconstruct as pixels.
        pixel_weight: Weight of the squared error of the reconstructed pixels (0..1). 0, as in the paper, leaves SSIM
            alone, whose gradient is weak while reconstructions are still poor.
        label_weight: Weight of the cross-entropy of a linear classification of the latent, for cells with a label. 0,
            as in the paper, keeps the stage unsupervised; required where stage 2 sees cells whose labels are withheld:
            with the protocol ``"paper"`` and with a `label_fraction` below 1.
        max_grad_norm: Norm to which gradients are clipped; ``None`` disables clipping.
        patience: Epochs without a lower validation loss before early stopping; ``None`` disables it.
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
    label_weight: float = 0.0
    max_grad_norm: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        weights = ("mmd_weight", "feature_weight", "pixel_weight", "label_weight")
        ranges = {"latent_dim": (1, MAX_SIZE), "decoder_channels": (1, MAX_SIZE), **dict.fromkeys(weights, (0, 1e6))}
        require_ranges(self, {**SCHEDULE_RANGES, **ranges}, "autoencoder")
        require(
            len(self.decoder_channels) == 7,
            f"decoder_channels must have 7 entries, but has {len(self.decoder_channels)}.",
        )
        require(self.target_size == 128, f"target_size must be 128, but is {self.target_size}.")

    def schedule(self) -> Schedule:
        """Returns the optimization settings for the training loop."""
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
        default: Classifier that `predict` uses by default.
        rendered: Synthetic cells per class, each from a different rendered laboratory, that are added to the training
            set of classifiers fitted on all data sets; see `bc_sam.training.synthetic_cells`. The paper uses none.
        label_weights: How much more often than among the training cells some labels are expected where the model is
            used, such as ``{"monocyte": 3}``; probabilities are multiplied by it. The paper weighs none.
    """

    names: tuple[str, ...] = ("rf", "svm_poly", "xgboost", "svm_rbf", "ann", "logistic")
    default: str = "svm_rbf"
    rendered: int = 0
    label_weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_ranges(self, {"rendered": (0, 100_000)}, "classifiers")
        require_label_weights(self.label_weights)
        require(bool(self.names), "names must contain at least one classifier.")
        require(
            self.default in self.names,
            f"The default classifier must be one of {', '.join(self.names)}, but is {self.default!r}.",
        )


@dataclass(frozen=True)
class TrainingArguments(JsonConfig):
    """Arguments of a training run.

    Attributes:
        base: SAM base model: a Hub id, a folder, an original ``.pth`` checkpoint, or ``"tiny"`` (small, untrained).
        base_revision: Revision of the base model on the Hub.
        image_size: Side of SAM's square input, pixels.
        seed: Seed of the folds, the initial weights and the shuffling.
        folds: Number of cross-validation folds per data set.
        protocol: ``"strict"`` holds the test fold out of every stage; ``"paper"`` includes it in stages 1 and 2;
            ``"leave-one-out"`` holds each laboratory in turn out of every stage, and tests on it.
        mixed_precision: ``"auto"`` uses the setting of ``accelerate launch``, otherwise bf16 if the hardware supports
            it.
        validation: Fraction of the training cells, 0..0.5, held out from all stages; stages 1 and 2 select their best
            epoch on it.
        gradient_accumulation_steps: Micro-batches that each batch is split into, to save memory.
        checkpoint_steps: Steps between checkpoints, in addition to one after each epoch.
        normalization: Normalization of every image to a common scale and light; ``None``, as in the paper, stretches
            whole images to squares.
        views: Number of augmented views of labelled training cells, drawn evenly over laboratories and classes. Stage
            2 is trained on them in addition to the cells, stage 3 on them alone. 0, as in the paper, for none.
        view: Augmentation strength of these views.
        average_turns: Whether the embedding of a cell is the mean of those of its image in the four orientations, in
            the evaluation as in the model; views keep the one they were drawn in. More accurate in unseen
            laboratories, at four times the cost of the encoder. Only for BC-SAM.
        label_fraction: Fraction of the labels, 0..1, that stage 3 or the network is trained on; at least one per class
            and data set. Smaller fractions are subsets of larger ones.
        keep_pictures: Whether the model stores thumbnails of the cells whose latents it stores. Off by default, since
            anyone with the model can view these patient images.
        method: ``"bc-sam"`` or a comparison network.
        segmentation: Stage 1.
        autoencoder: Stage 2.
        classifiers: Stage 3.
        network: Architecture and training of a comparison network.
    """

    absent_values: ClassVar[Mapping[str, None]] = {"normalization": None}  # runs of older versions had none

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
    normalization: NormalizationConfig | None = field(default_factory=NormalizationConfig)
    views: int = 0
    view: ViewArguments = field(default_factory=ViewArguments)
    average_turns: bool = False
    label_fraction: float = 1.0
    keep_pictures: bool = False
    method: Method = "bc-sam"
    segmentation: SegmentationArguments = field(default_factory=SegmentationArguments)
    autoencoder: AutoencoderArguments = field(default_factory=AutoencoderArguments)
    classifiers: ClassifierArguments = field(default_factory=ClassifierArguments)
    network: NetworkArguments = field(default_factory=NetworkArguments)

    def __post_init__(self) -> None:
        require(
            0 < self.label_fraction <= 1,
            f"label_fraction must be above 0 and at most 1, but is {self.label_fraction}.",
        )
        require(
            not self.autoencoder.label_weight or (self.label_fraction == 1 and self.protocol != "paper"),
            "With an autoencoder.label_weight, stage 2 would learn labels that the protocol paper tests, or that "
            "label_fraction withholds. Set it to 0, or use another protocol and a label_fraction of 1.",
        )
        ranges: dict[str, tuple[float, float]] = {
            "seed": SEEDS,
            "folds": (2, 1000),
            "validation": (0, 0.5),
            "views": (0, 10**7),
            "gradient_accumulation_steps": (1, 65_536),
            "checkpoint_steps": (1, 10**9),
        }
        require_ranges(self, ranges)
        smallest = _SMALLEST_IMAGE if self.method == "bc-sam" else 2 * _PATCH
        require(
            smallest <= self.image_size <= MAX_SIZE and self.image_size % _PATCH == 0,
            f"image_size must be a multiple of SAM's patch size of {_PATCH} from {smallest} to {MAX_SIZE}, but is "
            f"{self.image_size}.",
        )


def _adaptation_training() -> TrainingArguments:
    return TrainingArguments(
        segmentation=SegmentationArguments(epochs=10, warmup_epochs=1, batch_size=8),
        autoencoder=AutoencoderArguments(epochs=5, warmup_steps=10, batch_size=32, learning_rate=1e-4),
    )


@dataclass(frozen=True)
class AdaptationArguments(JsonConfig):
    """Adaptation of a trained model to a new laboratory.

    Attributes:
        labels_per_class: Maximum labels per class to train on; ``None`` for all, 0 for none.
        allowed_labels: Labels that can occur in the new laboratory; predictions are restricted to them. Empty for all.
        learn_from: ``"both"`` fits the classifiers on the stored latents of the training laboratories and on the new
            cells, giving the new laboratory the same weight per class as the others; ``"new"`` on the new cells only.
        fold: The fold that is held out, 0 to `training.folds` - 1. To test on other slides, hold out another fold: the
            seed hardly changes the folds, since large slides are assigned first.
        training: Arguments of the stages; base model, image size and latent dimension are the model's.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = {"among": "allowed_labels"}

    labels_per_class: int | None = None
    allowed_labels: tuple[str, ...] = ()
    learn_from: Literal["both", "new"] = "both"
    fold: int = 0
    training: TrainingArguments = field(default_factory=_adaptation_training)

    def __post_init__(self) -> None:
        require_ranges(self, {"labels_per_class": (0, 10**9), "fold": (0, self.training.folds - 1)})
