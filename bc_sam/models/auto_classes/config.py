"""``config.json`` of a model folder as a config of transformers."""

from typing import Any

from transformers.configuration_utils import PreTrainedConfig

MODEL_TYPE = "bc_sam"


class CellConfig(PreTrainedConfig):
    """The fields of `bc_sam.config.model.BCSamConfig`, with the names of the classes as transformers expects them.

    Example:
        >>> CellConfig(labels=["monocyte", "basophil"]).id2label
        {0: 'monocyte', 1: 'basophil'}
    """

    model_type = MODEL_TYPE

    def __init__(self, labels: list[str] | None = None, **fields: Any) -> None:
        names = dict(enumerate(labels or ()))
        ours: dict[str, Any] = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
        super().__init__(**({} if labels is None else ours) | fields)
        self.labels = labels


def register() -> None:
    """Makes ``AutoConfig`` know our model type."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    CONFIG_MAPPING.register(MODEL_TYPE, CellConfig, exist_ok=True)
