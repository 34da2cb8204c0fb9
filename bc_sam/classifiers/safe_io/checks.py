"""The checks that validators are made of. Each raises a `ValueError` that says what is wrong with the file."""

from typing import Any

import numpy as np


def require(condition: bool, problem: str) -> None:
    """Raises a `ValueError` with the problem unless the condition holds."""
    if not condition:
        raise ValueError(problem)


def require_type(part: Any, expected: type, n_features: int | None = None) -> None:
    """Checks the exact class of a part, that no attribute shadows one of the class, and the length of embeddings."""
    require(type(part) is expected, f"it holds {type(part).__name__} in the place of {expected.__name__}")
    hidden = [name for name in vars(part) if hasattr(expected, name)]
    require(not hidden, f"its {expected.__name__} replaces {hidden}")
    if n_features is not None:
        fitted_on = getattr(part, "n_features_in_", None)
        require(fitted_on == n_features, "it is fitted on embeddings of another length")


def require_array(array: Any, *shape: int) -> None:
    """Checks the shape of an array, and that its values are finite."""
    require(np.shape(array) == shape, f"an array is of shape {np.shape(array)} instead of {shape}")
    require(bool(np.isfinite(array).all()), "an array holds values that are not finite")
