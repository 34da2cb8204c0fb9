"""What is sought in fields, and how the model is run on their windows."""

from collections.abc import Callable
from dataclasses import dataclass

from bc_sam.models.abstention import RejectionThresholds
from bc_sam.models.observation import Observation

#: Runs a model on windows; see `bc_sam.models.base.CellModel.observe`.
Observe = Callable[..., Observation]


@dataclass(frozen=True)
class Search:
    """What is sought in fields.

    Attributes:
        red_cells: Whether to count red cells.
        platelets: Whether to count platelets.
        name: Whether to name the white cells.
        classifier: Name of the classifier; by default the config's.
        abstain: Whether to give no name to cells that should not be named; see `CellModel.stream`.
        keep_observed: Whether to keep the results of all classifiers with each cell, so that it can be named again
            without the model; see `bc_sam.models.found_cells.FoundCell.observed`.
    """

    red_cells: bool = False
    platelets: bool = False
    name: bool = False
    classifier: str | None = None
    abstain: bool | RejectionThresholds = True
    keep_observed: bool = False
