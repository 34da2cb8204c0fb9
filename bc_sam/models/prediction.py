"""The prediction for one image, shared by code, command line and page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bc_sam.errors import ImageError
from bc_sam.models.abstention import Decision, Reason


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image. An unreadable image only has an error.

    Attributes:
        source: The image as passed.
        label: The predicted label; ``None`` if the model abstains, or the image is unreadable.
        probabilities: (n_labels,) float32 in the order of the model's labels.
        latent: The embedding, (latent_dim,) float32.
        error: Why the image is unreadable, or ``None``.
        likeliest: The most probable label, even if the model abstains.
        reasons: Reasons against the label, strongest first; empty if abstention is off.
        ood: Out-of-distribution score, 0..1; ``None`` if abstention is off, or the model has no reference cells.
    """

    source: Any
    label: str | None
    probabilities: np.ndarray | None
    latent: np.ndarray | None
    error: ImageError | None = None
    likeliest: str | None = None
    reasons: tuple[Reason, ...] = ()
    ood: float | None = None

    @classmethod
    def of(
        cls,
        source: Any,
        decision: Decision,
        probabilities: np.ndarray,
        labels: Sequence[str],
        *,
        latent: np.ndarray | None = None,
        ood: float | None = None,
    ) -> "Prediction":
        """Returns the prediction that follows from a decision.

        Args:
            source: The image as passed.
            decision: Whether to name the cell.
            probabilities: (n_labels,), on which the decision was based.
            labels: Label names.
            latent: The embedding.
            ood: Out-of-distribution score.
        """
        likeliest = labels[decision.label]
        label = None if decision.abstain else likeliest
        return cls(source, label, probabilities, latent, None, likeliest, decision.reasons, ood)

    @property
    def probability(self) -> float | None:
        """Probability of the most probable label, 0..1; ``None`` if the image is unreadable."""
        return None if self.probabilities is None else float(self.probabilities.max())

    @property
    def abstained(self) -> bool:
        """Whether the image is readable, but the cell gets no name."""
        return self.error is None and self.label is None

    @property
    def check(self) -> bool:
        """Whether the cell gets a name that should be checked."""
        return self.label is not None and bool(self.reasons)


def top_labels(probabilities: np.ndarray, labels: Sequence[str], count: int) -> list[tuple[str, float]]:
    """Returns the `count` most probable labels with their probabilities, 0..1, in descending order.

    Example:
        >>> top_labels(np.array([0.25, 0.5, 0.25]), ("a", "b", "c"), 2)
        [('b', 0.5), ('a', 0.25)]
    """
    return [(labels[i], float(probabilities[i])) for i in np.argsort(-probabilities, kind="stable")[:count]]
