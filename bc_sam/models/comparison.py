"""Models of the comparison methods: SLCA, the shape-aware network, plain image classifiers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from transformers import SamModel

from bc_sam.classifiers.softmax_head import head_classifier
from bc_sam.config.base import Precision
from bc_sam.config.model import BCSamConfig
from bc_sam.config.network import Method, NetworkConfig
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.preparation import PreparedImage
from bc_sam.errors import ConfigError
from bc_sam.evaluation.results import Evaluation
from bc_sam.models.base import CellModel
from bc_sam.models.folder import BASE, NETWORK
from bc_sam.models.observing import Encoded
from bc_sam.models.stored_model import StoredModel
from bc_sam.models.training_record import TrainingRecord
from bc_sam.networks.cell_network import CellNetwork, head_weights, load_network, network_inputs, save_network, shrunk
from bc_sam.networks.features import encode_pixels, inference_sam, largest_components, predict_foreground
from bc_sam.utils.forked import require_threads
from bc_sam.utils.torch_utils import halve_weights, quiet, usable_device

#: Images, feature maps and masks; see `network_inputs`.
NetworkTensors = tuple[Tensor, Tensor, Tensor]


class ComparisonModel(CellModel):
    """Classifies single blood cells by one network: SLCA, the shape-aware network, or a plain image classifier.

    The input of the network's last layer is the embedding, and the last layer is the only classifier.

    Args:
        config: The config of the model; its `network` is set.
        network: The network.
        sam: The frozen SAM that computes its features or masks, at the config's image size; ``None`` if not needed.
        evaluation: Evaluation of the model.
        record: How it was trained.
        device: Device to which the parts are moved.
        precision: Data type of SAM's encoder. The network computes in float32.

    Attributes:
        base: The SAM as passed.
        sam: A copy of it, ready for inference.

    Example:
        >>> model = load_model("runs/slca")  # doctest: +SKIP
        >>> model.predict(["cell_1.tiff"])  # doctest: +SKIP
        ['monocyte']
    """

    methods: ClassVar[tuple[Method, ...]] = ("slca", "shape-aware", "resnet")

    def __init__(
        self,
        config: BCSamConfig,
        network: CellNetwork,
        sam: SamModel | None,
        *,
        evaluation: Evaluation | None = None,
        record: TrainingRecord | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "no",
    ) -> None:
        assert config.network is not None
        self.network_config: NetworkConfig = config.network
        head = head_classifier(*head_weights(network), self.network_config.classes, len(config.labels))
        self.network = network.to(device).eval()
        self.base = sam
        super().__init__(
            config,
            {config.default_classifier: head},
            sam=None if sam is None else inference_sam(sam, device, precision),
            evaluation=evaluation,
            record=record,
        )

    @classmethod
    def load(cls, stored: StoredModel) -> Self:
        """Builds the model from its checked files; see `from_pretrained`.

        Raises:
            ConfigError: If `refit` is set, as there are no classifiers beside the network.
        """
        network = stored.config.network
        assert network is not None
        if stored.refit:
            raise ConfigError(
                f"{stored.source} is one network and has no classifiers to refit. Load it without refit."
            )
        return cls(
            stored.config,
            load_network(network, stored.folder / NETWORK),
            stored.load_base() if network.needs_sam else None,
            evaluation=stored.evaluation,
            record=stored.record,
            device=stored.device,
            precision=stored.precision,
        )

    def _write_weights(self, folder: Path, *, with_base: bool, half: bool) -> None:
        save_network(self.network, folder / NETWORK)
        if with_base and self.base is not None:
            with quiet():
                self.base.save_pretrained(folder / BASE)
        if half:
            halve_weights(folder)

    def _write_classifiers(self, folder: Path) -> dict[str, tuple[int, ...]]:
        return {}  # the last layer is part of the network

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.network.parameters()).device

    def to(self, device: str | torch.device) -> Self:
        """Moves the network, and SAM if there is one, to a device, in place."""
        device = usable_device(device)
        self.network.to(device)
        if self.sam is not None:
            self.sam.to(device)  # type: ignore[arg-type]  # typed by the library as taking no argument
        return self

    @property
    def can_segment(self) -> bool:
        """Whether the model includes a SAM fine-tuned to predict masks."""
        return self.network_config.needs_masks

    @property
    def has_attention(self) -> bool:
        """Whether the network has attention maps."""
        return self.network.attention is not None

    @torch.inference_mode()
    def attention(
        self, images: Iterable[Any], *, batch_size: int | None = None, show_progress_bar: bool = False
    ) -> list[np.ndarray]:
        """Returns the attention map of the network on each image.

        Args:
            images: Paths, bytes, PIL images or arrays, one cell each.
            batch_size: Images per batch; by default chosen for the device.
            show_progress_bar: Whether to show a progress bar.

        Returns:
            For each image a non-negative float32 map of its height and width: for SLCA the mean channel weight at each
            position; for the shape-aware network the origin of the values that the shape attention lets through.

        Raises:
            ConfigError: If the network has no attention.
            ImageError: If an image cannot be read.
        """
        return [
            attention
            for batch in self._readable_batches(images, batch_size, show_progress_bar)
            for attention in self._attention(self._inputs(batch.pixels), batch.prepared)
        ]

    @torch.inference_mode()
    def predict_with_attention(
        self,
        images: Iterable[Any],
        *,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        profile: AppearanceProfile | None = None,
    ) -> tuple[list[str], list[np.ndarray]]:
        """Returns the labels of `predict` and the maps of `attention`, with one pass of SAM per image; see there.

        Args:
            images: As for `predict`.
            batch_size: As for `predict`.
            show_progress_bar: As for `predict`.
            profile: Scale and stain of the laboratory, from `profile`; by default those of these images.
        """
        classifier = self._classifier(None)
        labels: list[str] = []
        maps: list[np.ndarray] = []
        for batch in self._readable_batches(images, batch_size, show_progress_bar, profile=profile):
            inputs = self._inputs(batch.pixels)
            maps += self._attention(inputs, batch.prepared)
            probabilities = classifier.predict_proba(self._embed(inputs))
            labels += [self.labels[column] for column in probabilities.argmax(axis=1)]
        return labels, maps

    def _attention(self, inputs: NetworkTensors, images: Sequence[PreparedImage]) -> list[np.ndarray]:
        """Returns the attention map of each image, resized to its height and width."""
        maps = self.network.attention_maps(*inputs)
        if maps is None:
            raise ConfigError(
                f"This {self.config.default_classifier} has no attention maps. Use SLCA or a shape-aware network."
            )
        values = maps.float().cpu().numpy()
        return [image.restore_map(attention) for image, attention in zip(images, values, strict=True)]

    @torch.inference_mode()
    def _encode(self, pixels: np.ndarray, *, masks: bool, embeddings: bool) -> Encoded:
        if self.device.type == "cpu":
            require_threads()
        features, foreground = self._sam_outputs(pixels)
        if not embeddings:
            return Encoded(foreground if masks else None, None)
        embedded = self._embed(self._network_inputs(pixels, features, foreground))
        return Encoded(foreground if masks else None, embedded)

    def _embed(self, inputs: NetworkTensors) -> np.ndarray:
        return self.network.embed(*inputs).float().cpu().numpy()

    def _inputs(self, pixels: np.ndarray) -> NetworkTensors:
        return self._network_inputs(pixels, *self._sam_outputs(pixels))

    def _sam_outputs(self, pixels: np.ndarray) -> tuple[Tensor | None, np.ndarray | None]:
        """Returns SAM's features (B, C, h, w) and foreground (B, S, S) bool, each ``None`` if not needed."""
        if self.sam is None:
            return None, None
        features = encode_pixels(self.sam, self.config, pixels)
        return features, predict_foreground(self.sam, self.config, features) if self.can_segment else None

    def _network_inputs(
        self, pixels: np.ndarray, features: Tensor | None, foreground: np.ndarray | None
    ) -> NetworkTensors:
        """Returns the network's inputs for pixels (B, S, S, 3), rounded like the stored features it was trained on."""
        empty = torch.empty(0, device=self.device)
        maps = features.half() if features is not None and self.network_config.needs_maps else empty
        masks = empty if foreground is None else self._resize(largest_components(foreground))
        return network_inputs(self._resize(pixels), maps, masks)

    def _resize(self, images: np.ndarray) -> Tensor:
        """Returns images or masks at the network's input size, on its device."""
        return torch.tensor(np.stack([shrunk(image, self.network_config.input_size) for image in images])).to(
            self.device
        )


def with_attention(model: CellModel) -> ComparisonModel:
    """Checks that a model has attention maps, and returns it.

    Raises:
        ConfigError: If it has none.
    """
    if not isinstance(model, ComparisonModel) or not model.has_attention:
        raise ConfigError("This model has no attention maps. Train one that has: bc-sam train --method slca.")
    return model
