"""Configuration of the normalization of scale and light, as stored with a model."""

from dataclasses import dataclass

from bc_sam.config.base import require
from bc_sam.utils.json_config import JsonConfig


@dataclass(frozen=True)
class NormalizationConfig(JsonConfig):
    """How images are brought to a common scale and light before the encoder sees them.

    Attributes:
        field_of_view: Side of the encoder's square input, µm, centred on the white cell. White cells are 8 to 20 µm
            wide.
        stain: Whether to scale the optical density of each channel so that nuclei are as dark as in the reference; see
            `bc_sam.data.appearance.light.stain_strength`. The white point is always normalized.
    """

    field_of_view: float = 20.0
    stain: bool = True

    def __post_init__(self) -> None:
        require(
            5 <= self.field_of_view <= 200,
            f"field_of_view must be between 5 and 200 µm, but is {self.field_of_view}.",
        )
