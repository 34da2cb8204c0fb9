"""What a visitor has chosen: a classifier, the names that are possible, and when to leave a cell without one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bc_sam.classifiers.fitting import restrict_probabilities
from bc_sam.models.abstention import Assessment, Limits, Reason, assess


@dataclass(frozen=True)
class Choice:
    """How cells that have been looked at are to be named.

    Attributes:
        classifier: Name of a classifier.
        limits: When to abstain.
        among: Labels that a cell can have; empty for all.
    """

    classifier: str
    limits: Limits
    among: tuple[str, ...] = ()

    def possible(self, probabilities: Mapping[str, np.ndarray], labels: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns what each classifier says, (n_labels,), of the labels that are possible."""
        if not self.among:
            return dict(probabilities)
        among = np.array([labels.index(label) for label in self.among])
        return {name: restrict_probabilities(row, among) for name, row in probabilities.items()}

    def assess(
        self, probabilities: dict[str, np.ndarray], novelty: float | None, from_image: tuple[Reason, ...]
    ) -> Assessment:
        """Says what the chosen classifier makes of a cell, from what `possible` returned."""
        return assess(probabilities[self.classifier], novelty, from_image, self.limits, probabilities)
