"""What a model's encoder sees of an image, as an image processor of transformers."""

from typing import Any

import numpy as np
from transformers.image_processing_base import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from bc_sam.models.auto_classes.config import CellConfig


class CellImageProcessor(BaseImageProcessor):
    """Prepares images exactly as our models do; reads ``preprocessor_config.json`` of a model folder.

    Every image is measured by itself. For the common scale of a laboratory, give its images to one call of
    ``predict``.

    Example:
        >>> settings = {"size": {"height": 64, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        >>> CellImageProcessor(**settings)(np.zeros((90, 80, 3), np.uint8))["pixel_values"].shape
        (1, 3, 64, 64)
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012  as in the base class
    size: dict[str, int]
    image_mean: list[float]
    image_std: list[float]

    def preprocess(self, images: Any, return_tensors: str | None = None, **_: Any) -> BatchFeature:
        """Returns ``pixel_values`` (n, 3, S, S) float32 of one image, or of a list or batch of images.

        Raises:
            ImageError: If an image cannot be read; see `bc_sam.data.images.read_image`.
        """
        from bc_sam.config.normalization import NormalizationConfig
        from bc_sam.data.image_arguments import image_argument, image_sequence
        from bc_sam.data.images import read_pixels
        from bc_sam.data.preparation import Preparation

        is_batch = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
        given = getattr(self, "normalization", None)
        normalization = (
            None if given is None else NormalizationConfig.from_dict(given, where="preprocessor_config.json")
        )
        preparation = Preparation(self.size["height"], normalization)
        sources = image_sequence(images if is_batch else [image_argument(images)])
        pixels = np.stack([preparation.prepare(read_pixels(source)).pixels for source in sources])
        mean, std = (np.array(values, np.float32) for values in (self.image_mean, self.image_std))
        values = ((pixels.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
        return BatchFeature({"pixel_values": np.ascontiguousarray(values)}, tensor_type=return_tensors)


def register() -> None:
    """Makes ``AutoImageProcessor`` and pipelines prepare images as our models do."""
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    backends: dict[str, type] = {"pil": CellImageProcessor, "torchvision": CellImageProcessor}
    AutoImageProcessor.register(CellConfig, image_processor_classes=backends, exist_ok=True)
