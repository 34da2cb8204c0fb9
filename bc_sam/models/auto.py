"""Loads a model of any method."""

from pathlib import Path
from typing import Unpack

from bc_sam.config.network import Method
from bc_sam.models.base import CellModel
from bc_sam.models.bc_sam import BCSam
from bc_sam.models.stored_model import LoadOptions, StoredModel
from bc_sam.utils.extras import extras_explained
from bc_sam.utils.model_source import EMBEDDED_MODEL


def model_class(method: Method) -> type[CellModel]:
    """Returns the class of the models of a method.

    Example:
        >>> model_class("slca").__name__
        'ComparisonModel'
    """
    if method in BCSam.methods:
        return BCSam
    from bc_sam.models.comparison import ComparisonModel  # which imports torch, as the onnx backend of BCSam does not

    return ComparisonModel


@extras_explained()
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
    return model_class(stored.config.method).opened(stored)
