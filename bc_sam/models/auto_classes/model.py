"""A saved model as a model of transformers, for ``AutoModelForImageClassification`` and pipelines."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.modeling_utils import PreTrainedModel

from bc_sam.errors import ConfigError
from bc_sam.models.auto_classes.config import CellConfig
from bc_sam.models.auto_classes.image_processor import CellImageProcessor

if TYPE_CHECKING:
    from bc_sam.models.base import CellModel

# Arguments of `from_pretrained` that mean the same to `bc_sam.load_model`.
_OURS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder", "dtype")
# Those that transformers adds by itself.
_THEIRS = ("config", "trust_remote_code", "adapter_kwargs", "_from_auto", "_from_pipeline", "_commit_hash")


class CellModelForImageClassification(PreTrainedModel):
    """Any model of `bc_sam.load_model`, for inference, with the logarithms of its probabilities as logits.

    Args:
        config: Its config.
        cells: The model itself.

    Example:
        >>> from transformers import AutoModelForImageClassification
        >>> AutoModelForImageClassification.from_pretrained("runs/mine/model")  # doctest: +SKIP
    """

    config_class = CellConfig
    main_input_name = "pixel_values"

    def __init__(self, config: CellConfig, cells: "CellModel") -> None:
        super().__init__(config)
        self.cells = cells
        # The same modules, so that `parameters` lists and `to` moves them.
        parts = {name: getattr(cells, name, None) for name in ("sam", "autoencoder", "network")}
        self.parts = torch.nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
        self.eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *_: Any, **options: Any) -> Self:  # type: ignore[override]
        """Loads a model folder or a model of the Hub, as `bc_sam.load_model` does, on the CPU.

        Raises:
            BCSamError: If it cannot be loaded.
            ConfigError: If an argument is given that our models do not have, or an earlier version saved the model.
        """
        from bc_sam.models.auto import model_class
        from bc_sam.models.folder import PREPROCESSOR
        from bc_sam.models.stored_model import StoredModel

        given = {name: value for name, value in options.items() if value is not None}
        if unknown := sorted(given.keys() - {*_OURS, *_THEIRS}):
            raise ConfigError(f"A bc_sam model has no option {unknown[0]}. Omit it, or use bc_sam.load_model.")
        stored = StoredModel.open(
            pretrained_model_name_or_path, device="cpu", **{name: given[name] for name in _OURS if name in given}
        )
        _require_own_processor(stored.folder / PREPROCESSOR, pretrained_model_name_or_path)
        config = options.get("config")
        if not isinstance(config, CellConfig):
            config = CellConfig(**stored.config.to_dict())
        config.name_or_path = str(pretrained_model_name_or_path)
        return cls(config, model_class(stored.config.method).load(stored))

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:  # type: ignore[override]
        """Writes a model folder; see `bc_sam.models.base.CellModel.save_pretrained`."""
        self.cells.save_pretrained(save_directory)

    @property
    def dtype(self) -> torch.dtype:
        """Data type of its input. The encoder may compute in another."""
        return torch.float32

    @torch.inference_mode()
    def forward(self, pixel_values: Tensor, **_: Any) -> ImageClassifierOutput:
        """Classifies images that the model's `CellImageProcessor` has prepared.

        Args:
            pixel_values: (n, 3, S, S) float.

        Returns:
            Logits (n, n_labels), whose softmax is `predict_proba`.
        """
        from bc_sam.models.observation import Parts

        config, values = self.cells.config, pixel_values.float().permute(0, 2, 3, 1).cpu()
        mean, std = torch.tensor(config.image_mean), torch.tensor(config.image_std)
        pixels = (values * std + mean).round().clamp(0, 255).byte().numpy()
        name = config.default_classifier
        self.cells.require_classifiers()
        observed = self.cells.observe(pixels, Parts.PROBABILITIES, classifiers=[name])
        probabilities = torch.from_numpy(observed.probabilities[name]).to(pixel_values.device)
        return ImageClassifierOutput(logits=probabilities.clamp(min=torch.finfo(torch.float32).tiny).log())


def _require_own_processor(path: Path, source: str | Path) -> None:
    """Checks that a pipeline would prepare images as the model does, which it does by what the folder names."""
    named = json.loads(path.read_text()).get("image_processor_type") if path.exists() else None
    if named != CellImageProcessor.__name__:
        raise ConfigError(
            f"{source} was saved by an earlier version, whose image processor ({named}) prepares images "
            f"otherwise than the model. Save it again, bc-sam save {source} NEW, or use bc_sam.load_model."
        )


def register() -> None:
    """Makes ``AutoModelForImageClassification`` know our models."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        AutoModelForImageClassification,
    )

    AutoModelForImageClassification.register(CellConfig, CellModelForImageClassification, exist_ok=True)
    # By which the pipeline checks whether it supports a model.
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[CellConfig.model_type] = CellModelForImageClassification.__name__
