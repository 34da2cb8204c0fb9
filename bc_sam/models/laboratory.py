"""What to say about the laboratory of a set of cells, shared by code, command line and page."""

from collections.abc import Iterable

import numpy as np

from bc_sam.classifiers.laboratory_fit import LaboratoryFit
from bc_sam.models.abstention import Reason
from bc_sam.models.base import CellModel
from bc_sam.models.prediction import Prediction

#: For the column "laboratory" of a table.
NOT_KNOWN = "not known to the model"


def laboratory_of(model: CellModel, predictions: Iterable[Prediction]) -> LaboratoryFit:
    """Judges whether the model knows the laboratory of the cells that were predicted; poor images do not count.

    Args:
        model: The model that predicted them.
        predictions: Of `CellModel.stream` with ``abstain=True``, which measures the image quality.

    Example:
        >>> laboratory_of(model, model.stream(cells, abstain=True)).known  # doctest: +SKIP
        True
    """
    usable = [p for p in predictions if p.latent is not None and is_usable(p.reasons)]
    return judge_cells(model, [p.latent for p in usable if p.latent is not None], [p.ood for p in usable])


def judge_cells(model: CellModel, embeddings: Iterable[np.ndarray], ood: Iterable[float | None]) -> LaboratoryFit:
    """Judges the laboratory of cells with a good image by their embeddings (d,) and out-of-distribution scores."""
    rows, scores = list(embeddings), list(ood)
    known = [score for score in scores if score is not None]
    stacked = np.stack(rows) if rows else np.empty((0, model.config.latent_dim))
    return model.judge_laboratory(stacked, np.array(known) if known and len(known) == len(rows) else None)


def is_usable(reasons: Iterable[Reason]) -> bool:
    """Returns whether nothing about the image speaks against judging a laboratory by it."""
    return not any(reason.abstain and reason.of_image for reason in reasons)


def describe_laboratory(fit: LaboratoryFit) -> str:
    """Returns one or two sentences for a laboratory that the model does not know, else an empty text."""
    if fit.known is not False:
        return ""
    return (
        f"The model does not know this laboratory: {fit.n_cells} cells look different from all cells that it learned "
        "from. Names are often wrong here."
    )
