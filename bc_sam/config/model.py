"""The configuration of a model folder: ``config.json``."""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from bc_sam.config.base import MOST, PAPER_DECODER_CHANNELS, require
from bc_sam.config.labels import LABELS
from bc_sam.config.network import Method, NetworkConfig
from bc_sam.utils.hub_id import reads_as_hub_id
from bc_sam.utils.json_config import JsonConfig

#: Version of the layout of a model folder. A reader refuses a newer one.
FORMAT_VERSION = 1


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
        allowed_labels: Labels that predictions are restricted to; empty for all that it has learned. See
            `bc_sam.models.base.CellModel.restrict_labels`. Called ``among`` in older files.
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

    @property
    def method(self) -> Method:
        """How the model names cells: ``"bc-sam"``, or the method of its network."""
        return "bc-sam" if self.network is None else self.network.method

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data. Unset fields are omitted so that older versions can still read the config."""
        data = super().to_dict()
        unused = {name for name in ("network", "allowed_labels") if not data[name]}
        return {name: data[name] for name in data if name not in unused}

    def __post_init__(self) -> None:
        require(0 < len(set(self.labels)) == len(self.labels) <= MOST, "labels must be distinct, and 1 to 4096.")
        require(all(0 < std < 256 for std in self.image_std), f"image_std must be 0 to 256, not {self.image_std}.")
        require(all(0 <= mean <= 255 for mean in self.image_mean), f"image_mean: 0 to 255, not {self.image_mean}.")
        require(
            0 < self.image_size <= MOST and self.image_size % 16 == 0,
            f"image_size must be a multiple of 16 up to {MOST}, not {self.image_size}.",
        )
        widths = (self.feature_channels, self.latent_dim, *self.decoder_channels)
        require(all(0 < width <= MOST for width in widths), f"The widths {widths} must be 1 to {MOST}.")
        require(len(self.decoder_channels) == 7, "decoder_channels needs 7 widths.")
        self._check_base()
        for name, classes in self.classifiers.items():
            require(re.fullmatch(r"[a-z0-9_]+", name) is not None, f"{name!r} cannot be a classifier's name.")
            ascending = all(a < b for a, b in zip((-1, *classes), (*classes, len(self.labels)), strict=True))
            require(ascending, f"The classes of {name} must ascend within 0 to {len(self.labels) - 1}.")
        require(
            not self.classifiers or self.default_classifier in self.classifiers,
            f"The default classifier {self.default_classifier!r} is none of {', '.join(self.classifiers)}.",
        )

        if self.network is not None:
            require(self.network.classes[-1] < len(self.labels), "The network names classes that have no label.")
            require(not self.classifiers, "A network has no classifiers beside itself.")
        unknown = [label for label in self.allowed_labels if label not in self.labels]
        require(not unknown, f"allowed_labels must be labels of the model, which {', '.join(unknown)} is not.")
        for name in self.files:
            inside = re.fullmatch(r"(\w[\w.-]*/)*\w[\w.-]*", name) is not None
            require(inside, f"{name!r} is no path of a file in the model folder.")

    def _check_base(self) -> None:
        require(self.base_inside or self.base is not None, "base is missing: which SAM is underneath?")
        require(
            self.base is None or reads_as_hub_id(self.base),
            f"base must be a Hub id, which reads 'owner/name', not {self.base!r}.",
        )
        revision = self.base_revision or "main"
        safe = re.fullmatch(r"\w[\w./-]*", revision) is not None and ".." not in revision
        require(safe, f"base_revision must be a branch, tag or commit, not {revision!r}.")
