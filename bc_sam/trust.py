"""Classifiers on disk: skops only, and only the types that each kind of classifier is known to need."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import TREE_LEAF, Tree
from skops import io as skops_io
from skops.io.exceptions import UntrustedTypesFoundException

from bc_sam.errors import UntrustedFileError, WeightsError

_CALIBRATION = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
)

#: The types that each classifier may hold beyond those that skops trusts by itself. Fixed here: a file has no say.
TRUSTED_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "rf": ("sklearn.tree._tree.Tree",),
        "svm_poly": _CALIBRATION,
        "svm_rbf": _CALIBRATION,
        "xgboost": ("xgboost.core.Booster", "xgboost.sklearn.XGBClassifier"),
        "ann": ("sklearn.neural_network._stochastic_optimizers.AdamOptimizer",),
        "logistic": (),
    }
)


def save_estimator(estimator: Any, path: Path) -> None:
    """Writes a fitted scikit-learn estimator as a compressed skops file."""
    from zipfile import ZIP_DEFLATED

    skops_io.dump(estimator, path, compression=ZIP_DEFLATED, compresslevel=9)


def load_estimator(path: Path, name: str) -> Any:
    """Reads a classifier, after an audit of every type in the file.

    Args:
        path: A ``.skops`` file.
        name: Kind of the classifier; its allow-list is `TRUSTED_TYPES`.

    Returns:
        The fitted estimator.

    Raises:
        WeightsError: If the file is missing, damaged or no skops file.
        UntrustedFileError: If it holds a type that is not on the list; nothing of it has been built then.
    """
    try:
        estimator = skops_io.load(path, trusted=list(TRUSTED_TYPES.get(name, ())))
    except UntrustedTypesFoundException as error:
        raise UntrustedFileError(
            f"{path} holds types that a classifier {name!r} has no need of, and was not loaded. "
            f"Do not use this file; refit the classifier from data that you trust. {error}"
        ) from error
    except FileNotFoundError as error:
        raise WeightsError(f"The classifier file {path} is missing. Save the model again.") from error
    except (
        Exception
    ) as error:  # On damaged files the readers of zip, JSON and arrays raise nearly every built-in type.
        raise WeightsError(
            f"{path} is no skops file, or is damaged ({error}); pickles are not read. Save the model again."
        ) from error
    if name == "rf" and not _is_sound_forest(estimator):
        raise WeightsError(f"{path} is no sound random forest. Do not use it; refit it from data that you trust.")
    return estimator


def _is_sound_forest(forest: Any) -> bool:
    """Whether every node leads on to later nodes of its tree, which scikit-learn follows without checking bounds."""
    return type(forest) is RandomForestClassifier and all(
        type(member) is DecisionTreeClassifier and _is_sound_tree(member.tree_, forest.n_features_in_)
        for member in forest.estimators_
    )


def _is_sound_tree(tree: Tree, n_features: int) -> bool:
    inner = np.flatnonzero(tree.children_left != TREE_LEAF)
    children = np.stack([tree.children_left[inner], tree.children_right[inner]])
    features = tree.feature[inner]
    return bool(
        ((children > inner) & (children < tree.node_count)).all() and ((features >= 0) & (features < n_features)).all()
    )
