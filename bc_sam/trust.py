"""Classifiers on disk: skops only, and only the types that each kind of classifier is known to need."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

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
        WeightsError: If the file is missing or is no skops file.
        UntrustedFileError: If it holds a type that is not on the list; nothing of it has been built then.
    """
    try:
        unknown = sorted(set(skops_io.get_untrusted_types(file=path)) - set(TRUSTED_TYPES.get(name, ())))
        if unknown:
            raise UntrustedFileError(
                f"{path} holds {', '.join(unknown)}, which a classifier {name!r} has no need of. It was not loaded. "
                "Do not use this file; refit the classifier from data that you trust."
            )
        return skops_io.load(path, trusted=list(TRUSTED_TYPES.get(name, ())))
    except UntrustedTypesFoundException as error:
        raise UntrustedFileError(f"{path} was not loaded: {error}") from error
    except FileNotFoundError as error:
        raise WeightsError(f"The classifier file {path} is missing. Save the model again.") from error
    except (BadZipFile, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path} is no skops file ({error}); pickles are not read. Save the model again."
        ) from error
