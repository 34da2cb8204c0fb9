"""``config.json`` of a model folder."""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from bc_sam.config.base import MAX_SIZE, PAPER_DECODER_CHANNELS, require, require_label_weights
from bc_sam.config.labels import LABELS
from bc_sam.config.network import Method, NetworkConfig
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.utils.hub_id import reads_as_hub_id
from bc_sam.utils.json_config import JsonConfig

#: Version of the model folder's layout. Newer versions are rejected on loading. In version 2, the adapter beside a
#: base holds only the LoRA, as the base has the trained mask decoder.
FORMAT_VERSION = 2


@dataclass(frozen=True)
class BCSamConfig(JsonConfig):
    """Configuration of a saved model.

    The file may be untrusted: names cannot form paths that leave the folder, and sizes are bounded.

    Attributes:
        labels: Class names in the order of the probability columns.
        domains: Data sets that the model was trained on.
        classifiers: For each classifier in ``classifiers/``, the label index of each of its classes 0, 1, 2, ...
        default_classifier: Classifier that `predict` uses by default.
        base: Hub id of the SAM base model, or ``None`` if it is not on the Hub.
        base_revision: Commit of the base model on the Hub.
        base_inside: Whether the base model is stored in ``base/`` instead of being downloaded from the Hub.
        image_size: Side of SAM's square input, pixels.
        image_mean: Per-channel mean (RGB) of the training pixels, 0..255.
        image_std: Per-channel standard deviation (RGB) of the training pixels, 0..255.
        mask_tokens: ``"single"`` predicts the cell from SAM's single-mask token; ``"two"`` from the difference of two
            tokens (background, cell), as the original checkpoints do.
        feature_channels: Channels of the encoder's last hidden state.
        latent_dim: Dimension of the embedding.
        decoder_channels: Channels of the autoencoder's decoder.
        format_version: Version of this layout.
        versions: Versions of the libraries that wrote the folder.
        files: SHA-256 of each file that is loaded, by its path in the folder.
        network: Network of a comparison model, which has no adapter, autoencoder or classifiers.
        allowed_labels: Labels that predictions are restricted to; empty for all trained labels. See
            `bc_sam.models.base.CellModel.restrict_labels`. Called ``among`` in older files.
        label_weights: How much more often than among the training cells some labels are expected where the model is
            used; their probabilities are multiplied by it. See `bc_sam.models.base.CellModel.weigh_labels`.
        normalization: Normalization of images to a common scale and light; ``None`` stretches whole images to squares.
        average_turns: Whether the embedding of a cell is the mean of those of its image in the four orientations, as
            a cell has none. The encoder then runs four times.
    """

    renamed_keys: ClassVar = {"among": "allowed_labels"}

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
    allowed_labels: tuple[str, ...] = ()
    label_weights: dict[str, float] = field(default_factory=dict)
    normalization: NormalizationConfig | None = None
    average_turns: bool = False

    @property
    def method(self) -> Method:
        """Classification method: ``"bc-sam"``, or the method of the network."""
        return "bc-sam" if self.network is None else self.network.method

    @property
    def id2label(self) -> dict[int, str]:
        """Class name of each probability column, as in a config of transformers."""
        return dict(enumerate(self.labels))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data. Unset fields are omitted so that older versions can still read the config."""
        data = super().to_dict()
        optional = ("network", "allowed_labels", "label_weights", "normalization", "average_turns")
        unused = {name for name in optional if not data[name]}
        return {name: data[name] for name in data if name not in unused}

    def __post_init__(self) -> None:
        distinct = 0 < len(set(self.labels)) == len(self.labels) <= MAX_SIZE
        require(distinct, f"labels must be 1 to {MAX_SIZE} distinct names.")
        positive_std = all(0 < std < 256 for std in self.image_std)
        require(positive_std, f"image_std must be between 0 and 256, exclusive, but is {self.image_std}.")
        in_range = all(0 <= mean <= 255 for mean in self.image_mean)
        require(in_range, f"image_mean must be between 0 and 255, but is {self.image_mean}.")
        require(
            0 < self.image_size <= MAX_SIZE and self.image_size % 16 == 0,
            f"image_size must be a multiple of 16 up to {MAX_SIZE}, but is {self.image_size}.",
        )
        widths = (self.feature_channels, self.latent_dim, *self.decoder_channels)
        require(
            all(0 < width <= MAX_SIZE for width in widths),
            f"feature_channels, latent_dim and decoder_channels must be between 1 and {MAX_SIZE}, but are {widths}.",
        )
        require(
            len(self.decoder_channels) == 7,
            f"decoder_channels must have 7 entries, but has {len(self.decoder_channels)}.",
        )
        self._check_base()
        for name, classes in self.classifiers.items():
            require(
                re.fullmatch(r"[a-z0-9_]+", name) is not None,
                f"Invalid classifier name {name!r}: use lower-case letters, digits and underscores.",
            )
            ascending = all(a < b for a, b in zip((-1, *classes), (*classes, len(self.labels)), strict=True))
            require(
                ascending, f"The classes of {name} must be in ascending order between 0 and {len(self.labels) - 1}."
            )
        require(
            not self.classifiers or self.default_classifier in self.classifiers,
            f"default_classifier must be one of {', '.join(self.classifiers)}, but is {self.default_classifier!r}.",
        )
        if self.network is not None:
            require(self.network.classes[-1] < len(self.labels), "The network predicts classes that have no label.")
            require(not self.classifiers, "A comparison model has a network or classifiers, not both.")
        unknown = [label for label in self.allowed_labels if label not in self.labels]
        require(not unknown, f"allowed_labels contains labels that the model does not have: {', '.join(unknown)}.")
        unknown = [label for label in self.label_weights if label not in self.labels]
        require(not unknown, f"label_weights contains labels that the model does not have: {', '.join(unknown)}.")
        require_label_weights(self.label_weights)
        for name in self.files:
            inside = re.fullmatch(r"(\w[\w.-]*/)*\w[\w.-]*", name) is not None
            require(inside, f"Invalid path in files: {name!r}.")

    def _check_base(self) -> None:
        require(
            self.base_inside or self.base is not None, "base is missing. Set it to the Hub id of the SAM base model."
        )
        require(
            self.base is None or reads_as_hub_id(self.base),
            f"base must be a Hub id such as 'owner/name', but is {self.base!r}.",
        )
        revision = self.base_revision or "main"
        safe = re.fullmatch(r"\w[\w./-]*", revision) is not None and ".." not in revision
        require(safe, f"base_revision must be a branch, tag or commit, but is {revision!r}.")
