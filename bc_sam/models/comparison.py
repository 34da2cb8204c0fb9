"""A comparison system as its users see it: loaded, asked, saved and shared as `BCSam` is, of which it is a kind."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from peft import PeftModel
from PIL import Image
from torch import Tensor
from transformers import SamModel

from bc_sam.classifiers.fitting import restrict_classifiers
from bc_sam.classifiers.softmax_head import head_classifier
from bc_sam.config.base import Precision
from bc_sam.config.model import BCSamConfig
from bc_sam.config.network import NetworkConfig
from bc_sam.errors import ConfigError
from bc_sam.evaluation.results import Evaluation
from bc_sam.models import folder as model_folder
from bc_sam.models.bc_sam import BCSam, load_base
from bc_sam.models.training_record import TrainingRecord
from bc_sam.networks.cell_network import CellNetwork, head_weights, load_network, network_inputs, save_network, shrunk
from bc_sam.networks.features import encode_pixels, inference_sam, predict_masks
from bc_sam.utils.torch_utils import quiet


class ComparisonModel(BCSam):
    """Names single blood cells by one network: SLCA, the shape-aware network, or a plain image classifier.

    What the network's last layer sees are its latents, and the last layer is its only classifier.

    Args:
        config: What must be known to use the parts; its `network` is set.
        network: The network.
        sam: The frozen SAM that gives it features or masks, at the config's image size; ``None`` where it needs none.
        evaluation: What was measured of it.
        record: How it was trained.
        device: Where to compute; the parts are moved there.
        precision: Number format of SAM's encoder. The network computes in float32.

    Example:
        >>> model = BCSam.from_pretrained("runs/slca")  # doctest: +SKIP
        >>> model.predict(["cell_1.tiff"])  # doctest: +SKIP
        ['monocyte']
    """

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
        self.config = config
        self.network = network.to(device).eval()
        self.base = sam
        self._sam = None if sam is None else inference_sam(sam, device, precision)
        head = head_classifier(*head_weights(network), self.network_config.classes, len(config.labels))
        self.classifiers = {config.default_classifier: head}
        self.reference = None
        self.evaluation = evaluation
        self.record = record
        restrict_classifiers(self.classifiers, config.labels, config.among)

    @classmethod
    def load(
        cls,
        folder: Path,
        config: BCSamConfig,
        remote: dict[str, Any],
        *,
        evaluation: Evaluation | None,
        record: TrainingRecord | None,
        device: str | torch.device,
        precision: Precision,
    ) -> Self:
        """Reads a model folder whose files have been checked; see `BCSam.from_pretrained`."""
        assert config.network is not None
        network = load_network(config.network, folder / model_folder.NETWORK)
        sam = load_base(folder, config, remote) if config.network.needs_sam else None
        return cls(config, network, sam, evaluation=evaluation, record=record, device=device, precision=precision)

    @property
    def network_config(self) -> NetworkConfig:
        """The sizes of the network."""
        assert self.config.network is not None
        return self.config.network

    @property
    def sam(self) -> SamModel:  # type: ignore[override]
        """The SAM inside.

        Raises:
            ConfigError: If there is none.
        """
        if self._sam is None:
            raise ConfigError(f"A model of the method {self.network_config.method} like this one holds no SAM.")
        return self._sam

    @property
    def adapter(self) -> PeftModel:  # type: ignore[override]
        """There is none.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"A model of the method {self.network_config.method} has no adapter. Take one of BC-SAM.")

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.network.parameters()).device

    def compile(self, batch_size: int | None = None) -> bool:
        """Compiles SAM's encoder where there is one; see `BCSam.compile`."""
        return self._sam is not None and super().compile(batch_size)

    def refit(self, seed: int = 1234) -> None:
        """There is nothing to fit again.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"The method {self.network_config.method} is one network, and has no classifiers to refit.")

    def segment(
        self, images: Iterable[Any], *, batch_size: int | None = None, show_progress_bar: bool = False
    ) -> list[np.ndarray]:
        """Returns the mask of the cell in each image; see `BCSam.segment`.

        Raises:
            ConfigError: If no SAM that has learned masks is part of the model.
        """
        if not self.network_config.needs_masks:
            raise ConfigError(f"The method {self.network_config.method} draws no masks. Take BC-SAM or shape-aware.")
        return super().segment(images, batch_size=batch_size, show_progress_bar=show_progress_bar)

    def attention(
        self, images: Iterable[Any], *, batch_size: int | None = None, show_progress_bar: bool = False
    ) -> list[np.ndarray]:
        """Returns where the network looks in each image.

        Args:
            images: Paths, bytes, PIL images or arrays, one cell each.
            batch_size: Images a step; by default what suits the device.
            show_progress_bar: Whether to show progress.

        Returns:
            For each image a map of its own height and width, float32, 0 or more. Of SLCA it is the mean weight of the
            channels at each place; of the shape-aware network where the values that the shape lets through come from.

        Raises:
            ConfigError: If the network has no attention.
            ImageError: If an image cannot be read.
        """
        found = []
        for batch in self._readable_batches(images, batch_size, show_progress_bar):
            maps = self._attention(batch.pixels)
            for one, (height, width) in zip(maps, batch.sizes, strict=True):
                found.append(np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR)))
        return found

    @property
    def has_attention(self) -> bool:
        """Whether there is attention to draw."""
        return self.network.attention is not None

    @torch.inference_mode()
    def _attention(self, pixels: np.ndarray) -> np.ndarray:
        maps = self.network.attention_maps(*self._inputs(pixels))
        if maps is None:
            raise ConfigError(f"This {self.config.default_classifier} has no attention to draw. Take one that has.")
        return maps.float().cpu().numpy()

    @torch.inference_mode()
    def _latents(self, pixels: np.ndarray) -> np.ndarray:
        return self.network.embed(*self._inputs(pixels)).float().cpu().numpy()

    def _inputs(self, pixels: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Everything that the network sees of some pixels (B, S, S, 3), rounded as the stored features are."""
        config, nothing = self.network_config, torch.empty(0, device=self.device)
        features = encode_pixels(self.sam, self.config, pixels) if config.needs_sam else nothing
        maps = features.half() if config.needs_maps else nothing
        masks = nothing
        if config.needs_masks:
            masks = self._small(predict_masks(self.sam, self.config, features))
        return network_inputs(self._small(pixels), maps, masks)

    def _small(self, images: np.ndarray) -> Tensor:
        """Images or masks at the size that the network sees, on its device."""
        return torch.tensor(np.stack([shrunk(one, self.network_config.input_size) for one in images])).to(self.device)

    def _write_weights(self, folder: Path, *, with_base: bool) -> None:
        save_network(self.network, folder / model_folder.NETWORK)
        if with_base and self.base is not None:
            with quiet():
                self.base.save_pretrained(folder / model_folder.BASE)

    def _write_classifiers(self, folder: Path) -> dict[str, tuple[int, ...]]:
        return {}  # its last layer is in the network


def with_attention(model: BCSam) -> ComparisonModel:
    """Returns a model that has attention to draw.

    Raises:
        ConfigError: If it has none.
    """
    if not isinstance(model, ComparisonModel) or not model.has_attention:
        raise ConfigError("This model has no attention to draw. Train one that has: bc-sam train --method slca.")
    return model
