"""The prediction for one image, shared by code, command line and page."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from bc_sam.config.labels import COARSE_LABELS
from bc_sam.errors import ImageError
from bc_sam.models.abstention import Decision, Reason


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The prediction for one image. An unreadable image only has an error.

    Predictions are equal if they say the same of the same source.

    Attributes:
        source: The image as passed.
        label: The predicted label; ``None`` if the model abstains, or the image is unreadable. With abstention it may
            be the name of a parent, ``"neutrophil"`` or ``"lymphocyte"``, whose kind is not certain.
        probabilities: (n_labels,) float32 in the order of the model's labels.
        latent: The embedding, (latent_dim,) float32.
        error: Why the image is unreadable, or ``None``.
        likeliest: The most probable label, even if the model abstains.
        reasons: Reasons against the label, strongest first; empty if abstention is off.
        ood: Out-of-distribution score, 0..1; ``None`` if abstention is off, or the model has no reference cells.
        label_probability: Probability of `label`, 0..1; that of all kinds together if it is the name of a parent.
    """

    source: Any
    label: str | None
    probabilities: np.ndarray | None
    latent: np.ndarray | None
    error: ImageError | None = None
    likeliest: str | None = None
    reasons: tuple[Reason, ...] = ()
    ood: float | None = None
    label_probability: float | None = None

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
        label = None if decision.abstain else decision.parent or likeliest
        kinds = COARSE_LABELS[decision.parent] if decision.parent else (likeliest,)
        share = float(sum(probabilities[column] for column, name in enumerate(labels) if name in kinds))
        return cls(
            source,
            label,
            probabilities,
            latent,
            None,
            likeliest,
            decision.reasons,
            ood,
            None if label is None else share,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON or a table; a source in memory, such as an array, is described by its type."""
        named = isinstance(self.source, str | PathLike)
        return {
            "source": str(self.source) if named else type(self.source).__name__,
            "label": self.label,
            "likeliest": self.likeliest,
            "probability": self.probability,
            "probabilities": None if self.probabilities is None else self.probabilities.tolist(),
            "embedding": None if self.latent is None else self.latent.tolist(),
            "ood": self.ood,
            "reasons": [reason.short for reason in self.reasons],
            "error": None if self.error is None else str(self.error),
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prediction):
            return NotImplemented
        same_source = self.source is other.source or np.array_equal(self.source, other.source)
        return same_source and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # arrays cannot be hashed

    def __repr__(self) -> str:
        facts = self.to_dict()
        if self.error is not None:
            return f"Prediction({facts['source']}: {self.error})"
        name = self.label or f"no name, likeliest {self.likeliest}"
        reasons = "".join(f"; {reason}" for reason in facts["reasons"])
        share = self.probability if self.label_probability is None else self.label_probability
        probability = "" if share is None else f" {share:.2f}"
        return f"Prediction({facts['source']}: {name}{probability}{reasons})"

    def _repr_html_(self) -> str:
        """The prediction with its picture, as notebooks show it."""
        from bc_sam.models.prediction_html import picture_table  # which knows this module

        return picture_table([self])

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
