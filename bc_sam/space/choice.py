"""What a visitor has chosen: a classifier, and when to leave a cell without a name."""

from dataclasses import dataclass

import numpy as np

from bc_sam.assessment import Assessment, Limits, Reason, assess


@dataclass(frozen=True)
class Choice:
    """How cells that have been looked at are to be named.

    Attributes:
        classifier: Name of a classifier.
        limits: When to abstain.
    """

    classifier: str
    limits: Limits

    def assess(
        self, probabilities: dict[str, np.ndarray], novelty: float | None, from_image: tuple[Reason, ...]
    ) -> Assessment:
        """Says what the chosen classifier makes of a cell."""
        return assess(probabilities[self.classifier], novelty, from_image, self.limits, probabilities)
