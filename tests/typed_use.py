"""What type checkers know of one image and of many; `test_quality.py` has mypy check it, and nothing runs it."""

from pathlib import Path
from typing import Any, assert_type

import numpy as np

from bc_sam import BCSam, Prediction, RejectionThresholds, load_model
from bc_sam.models.base import CellModel

Ranking = list[dict[str, Any]]


def use(model: CellModel, cell: Path, array: np.ndarray) -> None:
    assert_type(model(cell), Ranking)
    assert_type(model("cell.png", top_k=3), Ranking)
    assert_type(model([cell, cell]), list[Ranking])
    assert_type(model((cell, cell)), list[Ranking])
    assert_type(model(array), Ranking | list[Ranking])
    assert_type(model.predict([cell]), list[str])
    assert_type(model.predict([cell], abstain=True), list[str | None])
    assert_type(model.predict([cell], abstain=RejectionThresholds()), list[str | None])
    for prediction in model.stream([cell]):
        assert_type(prediction, Prediction)
        assert_type(prediction.label, str | None)


def load() -> None:
    assert_type(BCSam.from_pretrained(), BCSam)
    assert_type(load_model(), CellModel)
    assert_type(BCSam.from_pretrained().restrict_labels("monocyte"), BCSam)
