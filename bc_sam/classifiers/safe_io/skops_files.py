"""Classifiers on disk: skops only, and only the types that each kind of classifier is known to need."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from skops import io as skops_io

from bc_sam.classifiers.safe_io.audit import audit
from bc_sam.classifiers.safe_io.validate_sklearn import require_sound
from bc_sam.classifiers.safe_io.validate_xgboost import load_booster
from bc_sam.errors import BCSamError, WeightsError

_PLAIN = (
    "DictNode:builtins.dict",
    "JsonNode:builtins.str",
    "ListNode:builtins.list",
    "TypeNode:builtins.str",
)
_ARRAYS = ("NdArrayNode:numpy.ndarray", "TupleNode:builtins.tuple")
_SCALED = (
    *_PLAIN,
    *_ARRAYS,
    "NdArrayNode:numpy.float64",
    "ObjectNode:sklearn.pipeline.Pipeline",
    "ObjectNode:sklearn.preprocessing._data.StandardScaler",
)
_SVM = (
    *_SCALED,
    "ObjectNode:sklearn.calibration.CalibratedClassifierCV",
    "ObjectNode:sklearn.calibration._CalibratedClassifier",
    "ObjectNode:sklearn.calibration._SigmoidCalibration",
    "ObjectNode:sklearn.svm._classes.SVC",
)

#: All types that the file of each classifier may hold, as named by `bc_sam.classifiers.safe_io.audit.audit`. The list
#: is fixed: a file has no say in it.
ALLOWED_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "rf": (
            *_PLAIN,
            *_ARRAYS,
            "NdArrayNode:numpy.int64",
            "ObjectNode:sklearn.ensemble._forest.RandomForestClassifier",
            "ObjectNode:sklearn.tree._classes.DecisionTreeClassifier",
            "TreeNode:sklearn.tree._tree.Tree",
        ),
        "svm_poly": _SVM,
        "svm_rbf": _SVM,
        "xgboost": (
            *_PLAIN,
            "BytearrayNode:builtins.bytearray",
            "ObjectNode:xgboost.core.Booster",
            "ObjectNode:xgboost.sklearn.XGBClassifier",
        ),
        "ann": (
            *_SCALED,
            "ObjectNode:sklearn.neural_network._multilayer_perceptron.MLPClassifier",
            "ObjectNode:sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
            "ObjectNode:sklearn.preprocessing._label.LabelBinarizer",
            "RandomStateNode:numpy.random.mtrand.RandomState",
        ),
        "logistic": (*_SCALED, "ObjectNode:sklearn.linear_model._logistic.LogisticRegression"),
    }
)

_CALIBRATION = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
)

#: Those of them that skops does not trust by itself: what to give its own `load` as ``trusted``.
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
    skops_io.dump(estimator, path, compression=zipfile.ZIP_DEFLATED, compresslevel=9)


def load_estimator(path: Path, name: str, *, n_features: int | None = None, n_classes: int | None = None) -> Any:
    """Reads a classifier that may come from anybody.

    First every type in the file is looked at, then it is built, then every shape and index that compiled code will
    rely on is checked. At no point does anything of the file run.

    Args:
        path: A ``.skops`` file.
        name: Kind of the classifier, which says what it may hold: see `ALLOWED_TYPES`.
        n_features: Numbers of a latent; if not given, any.
        n_classes: Number of its classes, which must be 0, 1, 2 ...; if not given, any.

    Returns:
        The fitted estimator.

    Raises:
        WeightsError: If the file is missing, damaged or no skops file, or holds another classifier.
        UntrustedFileError: If it holds a type that is not on the list, or is a zip bomb; nothing of it has been built
            then.
    """
    try:
        estimator = _read(path, name, n_features, n_classes)
        require_sound(estimator, name, n_features, n_classes)
    except BCSamError:
        raise
    except FileNotFoundError as error:
        raise WeightsError(f"The classifier file {path} is missing. Save the model again.") from error
    except Exception as error:  # The readers of zip, JSON and arrays raise nearly every built-in type.
        raise WeightsError(
            f"{path} holds no sound classifier {name!r}: {error}. It is damaged, or no skops file (pickles are not "
            "read), or made to do harm. Save or download the model again, or refit the classifier from data you trust."
        ) from error
    return estimator


def _read(path: Path, name: str, n_features: int | None, n_classes: int | None) -> Any:
    with zipfile.ZipFile(path) as archive:
        nodes = audit(archive, ALLOWED_TYPES.get(name, ()))
        if name == "xgboost":
            (member,) = (node["file"] for node in nodes if "file" in node)
            return load_booster(archive.read(member), n_features, n_classes)
    estimator = skops_io.load(path, trusted=list(TRUSTED_TYPES[name]))
    if name == "rf":
        # A file has no say in how many threads run. For batches of a stream one is three times as fast as several;
        # for a million latents at once: `with joblib.parallel_config(n_jobs=-1)`.
        estimator.set_params(n_jobs=None, verbose=0)
    return estimator
