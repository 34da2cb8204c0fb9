"""A visitor's choice of classifier, possible labels and rejection thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bc_sam.classifiers.fitting import restrict_probabilities
from bc_sam.models.abstention import Reason, RejectionThresholds, decide
from bc_sam.models.prediction import Prediction


@dataclass(frozen=True)
class Choice:
    """How inspected cells are classified.

    Attributes:
        classifier: Name of a classifier.
        thresholds: When to abstain.
        labels: Labels that can occur; empty for all.
        count_all: Count nucleated red cells and smudge cells among the 100 %.
    """

    classifier: str
    thresholds: RejectionThresholds
    labels: tuple[str, ...] = ()
    count_all: bool = False

    def restrict(self, probabilities: Mapping[str, np.ndarray], labels: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the probabilities (n_labels,) of each classifier, restricted to the labels that can occur."""
        if not self.labels:
            return dict(probabilities)
        allowed = np.array([labels.index(label) for label in self.labels])
        return {name: restrict_probabilities(row, allowed) for name, row in probabilities.items()}

    def predict(
        self,
        file: str,
        probabilities: Mapping[str, np.ndarray],
        labels: Sequence[str],
        ood: float | None,
        from_image: tuple[Reason, ...],
    ) -> Prediction:
        """Classifies a cell by the chosen classifier, or abstains.

        Args:
            file: File name of the image.
            probabilities: (n_labels,) of each classifier, unrestricted.
            labels: Label names.
            ood: Out-of-distribution score; see `bc_sam.models.abstention.decide`.
            from_image: See `bc_sam.models.abstention.image_reasons`.
        """
        row = self.restrict(probabilities, labels)[self.classifier]
        return Prediction.of(file, decide(row, ood, from_image, self.thresholds, labels), row, labels, ood=ood)
