"""Building blocks of the validators. Each raises a `ValueError` that describes the problem."""

from typing import Any

import numpy as np


def require(condition: bool, problem: str) -> None:
    """Raises a `ValueError` with this message unless the condition holds."""
    if not condition:
        raise ValueError(problem)


def require_type(part: Any, expected: type, n_features: int | None = None) -> None:
    """Checks the exact class of a part, that it overrides no class attribute, and the embedding dimension."""
    require(type(part) is expected, f"it holds {type(part).__name__} instead of {expected.__name__}")
    overridden = [name for name in vars(part) if hasattr(expected, name)]
    require(not overridden, f"its {expected.__name__} overrides {overridden}")
    if n_features is not None:
        fitted_on = getattr(part, "n_features_in_", None)
        require(fitted_on == n_features, "it was fitted on embeddings of another dimension")


def require_array(array: Any, *shape: int) -> None:
    """Checks the shape of an array and that its values are finite."""
    require(np.shape(array) == shape, f"an array has shape {np.shape(array)} instead of {shape}")
    require(bool(np.isfinite(array).all()), "an array has values that are not finite")
