"""Loads a model of any method."""

from pathlib import Path
from typing import Unpack

from bc_sam.config.network import Method
from bc_sam.models.base import CellModel
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.comparison import ComparisonModel
from bc_sam.models.stored_model import LoadOptions, StoredModel
from bc_sam.utils.hub import EMBEDDED_MODEL

#: Model class of each method.
MODEL_CLASSES: dict[Method, type[CellModel]] = {
    method: model_class for model_class in (BCSam, ComparisonModel) for method in model_class.methods
}


def load_model(source: str | Path = EMBEDDED_MODEL, **options: Unpack[LoadOptions]) -> CellModel:
    """Loads a model of any method, a `BCSam` or a `ComparisonModel`, from a folder or from the Hub.

    Args:
        source: Model folder, run folder of ``bc-sam train``, or Hub id; by default the small bundled model.
        **options: See `bc_sam.models.stored_model.LoadOptions`.

    Raises:
        BCSamError: If it cannot be loaded; see `BCSam.from_pretrained`.

    Example:
        >>> load_model("runs/slca").predict(["cell.tiff"])  # doctest: +SKIP
        ['monocyte']
    """
    stored = StoredModel.open(source, **options)
    return MODEL_CLASSES[stored.config.method].opened(stored)
