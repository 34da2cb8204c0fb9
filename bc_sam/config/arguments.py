"""What can be set: one frozen dataclass for each training stage, for the run, and for the model folder."""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bc_sam.config.labels import LABELS
from bc_sam.config.network import Method, NetworkArguments, NetworkConfig, network_arguments
from bc_sam.errors import ConfigError
from bc_sam.utils.json_config import JsonConfig

#: Version of the layout of a model folder. A reader refuses a newer one.
FORMAT_VERSION = 1

#: Name of the trained model inside the package.
EMBEDDED_MODEL = "bc-sam-tiny"

#: Width of the decoder's transposed convolutions in the original autoencoder.
PAPER_DECODER_CHANNELS = (150, 200, 256, 200, 180, 150, 128)

#: Most labels, pixels or channels that a model folder may ask for; the largest SAM has 1280 channels at 1024 px.
MOST = 4096

Protocol = Literal["strict", "paper"]
Precision = Literal["auto", "no", "bf16", "fp16"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


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
        _require(self.lora_rank > 0, f"lora_rank must be positive, not {self.lora_rank}.")
        _require(self.epochs >= 0, f"Stage 1 cannot train for {self.epochs} epochs.")
        _require(self.batch_size > 0, f"batch_size must be positive, not {self.batch_size}.")
        _require(0 <= self.dice_weight <= 1, f"dice_weight must lie in 0..1, not {self.dice_weight}.")


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
        surroundings: Share of the views whose surroundings, the red cells, are stained in another way than the middle,
            where the cell is, 0..1.
        slide: Most that a slide is darkened in a channel, optical density.
        focus: Strength of blur and sharpening, 0..1.
    """

    smallest: float = 0.7
    largest: float = 1.35
    shift: float = 0.06
    stain: float = 0.8
    surroundings: float = 0.5
    slide: float = 0.3
    focus: float = 0.9

    def __post_init__(self) -> None:
        _require(0 < self.smallest <= self.largest, f"smallest must not exceed largest: {self.smallest}.")
        _require(0 <= self.surroundings <= 1, f"surroundings must be in 0..1, not {self.surroundings}.")


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
        teaching: Share of the teacher's word beside that of the label, 0..1.
        evenness: How far small laboratories are seen more often: 0 as they come, 1 all as often.
        view: How far the views go from the cells.
    """

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
    teaching: float = 0.5
    evenness: float = 0.5
    view: ViewArguments = field(default_factory=ViewArguments)

    def __post_init__(self) -> None:
        _require(0 <= self.evenness <= 1, f"evenness must be in 0..1, not {self.evenness}.")
        _require(0 <= self.teaching <= 1, f"teaching must be in 0..1, not {self.teaching}.")


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
        _require(self.latent_dim > 0, f"latent_dim must be positive, not {self.latent_dim}.")
        _require(
            len(self.decoder_channels) == 7, f"decoder_channels needs 7 widths, not {len(self.decoder_channels)}."
        )
        _require(self.target_size == 128, f"target_size must be 128, which the decoder makes; not {self.target_size}.")
        _require(self.batch_size > 0, f"batch_size must be positive, not {self.batch_size}.")


@dataclass(frozen=True)
class ClassifierArguments(JsonConfig):
    """Stage 3: classical classifiers on the latents (BC-SAM, section 2.3).

    Attributes:
        names: Classifiers to fit; see `bc_sam.classifiers.fitting.CLASSIFIERS`.
        default: The one that `predict` uses unless told otherwise.
        rendered: Rendered cells of each class, each of a laboratory of its own, from which the classifiers learn too
            that learn from all data sets; see `bc_sam.training.synthetic_cells`. The paper has none.
    """

    names: tuple[str, ...] = ("rf", "svm_poly", "xgboost", "svm_rbf", "ann", "logistic")
    default: str = "svm_rbf"
    rendered: int = 0

    def __post_init__(self) -> None:
        _require(self.rendered >= 0, f"rendered must not be negative: {self.rendered}.")
        _require(bool(self.names), "Name at least one classifier.")
        _require(self.default in self.names, f"The default classifier {self.default!r} is not among {self.names}.")


@dataclass(frozen=True)
class TrainingArguments(JsonConfig):
    """A whole training run.

    Attributes:
        base: Any SAM: a Hub id, a folder, an original ``.pth`` checkpoint, or ``"tiny"`` for a new small one.
        base_revision: Revision of the base on the Hub.
        image_size: Side of the square that SAM sees, pixels.
        seed: Seed of the folds, the initial weights and the shuffling.
        folds: Parts that each data set is cut into.
        protocol: ``"strict"`` keeps the test fold out of every stage; ``"paper"`` shows it to stages 1 and 2.
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
        _require(0 < self.label_fraction <= 1, f"label_fraction must lie in 0..1, not {self.label_fraction}.")
        _require(self.folds >= 2, f"folds must be at least 2, not {self.folds}.")
        _require(0 <= self.validation <= 0.5, f"validation must lie in 0..0.5, not {self.validation}.")
        _require(
            self.gradient_accumulation_steps > 0 and self.checkpoint_steps > 0,
            "gradient_accumulation_steps and checkpoint_steps must be positive.",
        )
        _require(
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
        among: Labels that can occur in the new laboratory; empty for all. The adapted model chooses among them.
        learn_from: ``"both"`` fits the classifiers on the old laboratories' stored latents and the new cells, each
            class of the new laboratory weighing as much as that of the old ones; ``"new"`` on the new cells alone.
        training: Numbers of the stages; its base, image size and latents are those of the model.
    """

    labels_per_class: int | None = None
    among: tuple[str, ...] = ()
    learn_from: Literal["both", "new"] = "both"
    training: TrainingArguments = field(default_factory=_adaptation_training)

    def __post_init__(self) -> None:
        negative = self.labels_per_class is not None and self.labels_per_class < 0
        _require(not negative, f"labels_per_class must not be negative: {self.labels_per_class}.")


def preset(name: str, method: Method = "bc-sam") -> TrainingArguments:
    """Returns a named set of training arguments.

    Args:
        name: ``"paper"`` for the published numbers on ``facebook/sam-vit-base``, or ``"tiny"`` for a SAM of
            5.7 million encoder parameters that two processor cores can train from scratch.
        method: ``"bc-sam"``, or a network that it is compared with.

    Raises:
        ConfigError: If there is no such preset.

    Example:
        >>> preset("paper").segmentation.epochs
        150
    """
    paper = TrainingArguments()
    presets = {
        "paper": paper,
        "tiny": replace(
            paper,
            base="tiny",
            segmentation=SegmentationArguments(
                train_encoder=True, epochs=24, warmup_epochs=2, batch_size=16, learning_rate=5e-4, colour_jitter=0.2
            ),
            # A hundredth of the paper's steps: small batches and a high rate, and less of the MMD, which would
            # otherwise shrink the latents to nothing before the decoder has learned to read them.
            autoencoder=AutoencoderArguments(
                decoder_channels=(75, 100, 128, 100, 64, 48, 32),
                epochs=4,
                warmup_steps=50,
                batch_size=16,
                learning_rate=2e-3,
                mmd_weight=0.5,
            ),
        ),
    }
    if name not in presets:
        raise ConfigError(f"There is no preset {name!r}; choose one of {sorted(presets)}.")
    chosen = replace(presets[name], method=method)
    return chosen if method == "bc-sam" else replace(chosen, network=network_arguments(method, name))


@dataclass(frozen=True)
class BCSamConfig(JsonConfig):
    """The ``config.json`` of a model folder: what must be known to use the model.

    It may come from a stranger, so names are such that no path can be made of them, and sizes are within reason.

    Attributes:
        labels: Class names in the order of the probability columns.
        domains: Data sets that the model learned from.
        classifiers: For each classifier in the folder ``classifiers/``, the index of the label that each of its
            own classes, which are 0, 1, 2 ..., stands for.
        default_classifier: The one that `predict` uses unless told otherwise.
        base: Hub id of the SAM underneath, or ``None`` when the Hub does not hold it.
        base_revision: Commit of the base on the Hub.
        base_inside: Whether the base lies in the folder ``base/`` instead of being fetched from the Hub.
        image_size: Side of the square that SAM sees, pixels.
        image_mean: Mean of the training pixels, 0..255, red, green, blue.
        image_std: Their standard deviation, 0..255.
        mask_tokens: ``"single"`` reads the cell from SAM's single-mask token; ``"two"`` from the difference of
            two tokens (background, cell), as checkpoints of the original do.
        feature_channels: Channels of the encoder's last hidden state.
        latent_dim: Numbers that a cell is squeezed to.
        decoder_channels: Widths of the autoencoder's decoder.
        format_version: Version of this layout.
        versions: Version of each library that wrote the folder.
        files: SHA-256 of each file of the folder that is loaded, by its path in the folder.
        network: The network of a model of another method, which has neither adapter, autoencoder nor classifiers.
        among: Labels that it chooses among; empty for all that it has learned. See `bc_sam.models.bc_sam.BCSam.choose_among`.
    """

    labels: tuple[str, ...] = LABELS
    domains: tuple[str, ...] = ()
    classifiers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    default_classifier: str = "svm_rbf"
    base: str | None = None
    base_revision: str | None = None
    base_inside: bool = True
    image_size: int = 224
    image_mean: tuple[float, float, float] = (215.0322, 187.7592, 200.4668)
    image_std: tuple[float, float, float] = (41.3047, 56.9191, 21.9522)
    mask_tokens: Literal["single", "two"] = "single"
    feature_channels: int = 768
    latent_dim: int = 50
    decoder_channels: tuple[int, ...] = PAPER_DECODER_CHANNELS
    format_version: int = FORMAT_VERSION
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    model_type: str = "bc_sam"
    network: NetworkConfig | None = None
    among: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data; what is not used is left out, as versions before there was any can read it then."""
        data = super().to_dict()
        unused = {name for name in ("network", "among") if not data[name]}
        return {name: data[name] for name in data if name not in unused}

    def __post_init__(self) -> None:
        _require(0 < len(set(self.labels)) == len(self.labels) <= MOST, "labels must be distinct, and 1 to 4096.")
        _require(all(0 < std < 256 for std in self.image_std), f"image_std must be 0 to 256, not {self.image_std}.")
        _require(all(0 <= mean <= 255 for mean in self.image_mean), f"image_mean: 0 to 255, not {self.image_mean}.")
        _require(
            0 < self.image_size <= MOST and self.image_size % 16 == 0,
            f"image_size must be a multiple of 16 up to {MOST}, not {self.image_size}.",
        )
        widths = (self.feature_channels, self.latent_dim, *self.decoder_channels)
        _require(all(0 < width <= MOST for width in widths), f"The widths {widths} must be 1 to {MOST}.")
        _require(len(self.decoder_channels) == 7, "decoder_channels needs 7 widths.")
        self._check_base()
        for name, classes in self.classifiers.items():
            _require(re.fullmatch(r"[a-z0-9_]+", name) is not None, f"{name!r} cannot be a classifier's name.")
            ascending = all(a < b for a, b in zip((-1, *classes), (*classes, len(self.labels)), strict=True))
            _require(ascending, f"The classes of {name} must ascend within 0 to {len(self.labels) - 1}.")
        _require(
            not self.classifiers or self.default_classifier in self.classifiers,
            f"The default classifier {self.default_classifier!r} is none of {', '.join(self.classifiers)}.",
        )

        if self.network is not None:
            _require(self.network.classes[-1] < len(self.labels), "The network names classes that have no label.")
            _require(not self.classifiers, "A network has no classifiers beside itself.")
        known = set(self.labels)
        _require(known.issuperset(self.among), f"The model chooses among {self.among}, not all of which it knows.")
        for name in self.files:
            inside = re.fullmatch(r"(\w[\w.-]*/)*\w[\w.-]*", name) is not None
            _require(inside, f"{name!r} is no path of a file in the model folder.")

    def _check_base(self) -> None:
        _require(self.base_inside or self.base is not None, "base is missing: which SAM is underneath?")
        _require(
            self.base is None or re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", self.base) is not None,
            f"base must be a Hub id, which reads 'owner/name', not {self.base!r}.",
        )
        revision = self.base_revision or "main"
        safe = re.fullmatch(r"\w[\w./-]*", revision) is not None and ".." not in revision
        _require(safe, f"base_revision must be a branch, tag or commit, not {revision!r}.")
