"""Classifiers on disk: skops files with only the types that each kind of classifier needs."""

import copy
import zipfile
from pathlib import Path
from typing import Any

from bc_sam.classifiers.kinds import KINDS, ClassifierKind
from bc_sam.classifiers.safe_io.audit import audit
from bc_sam.errors import BCSamError, UntrustedFileError, WeightsError


def save_estimator(estimator: Any, path: Path) -> None:
    """Writes a fitted scikit-learn estimator as a compressed skops file, with what prediction needs."""
    from skops import io as skops_io

    skops_io.dump(_without_training_statistics(estimator), path, compression=zipfile.ZIP_DEFLATED, compresslevel=9)


def _without_training_statistics(estimator: Any) -> Any:
    """Returns a copy of a random forest without impurities, numbers of cells, and votes of inner nodes.

    They take three fifths of its file and decide nothing but `feature_importances_`. Other estimators are returned as
    they are.
    """
    from sklearn.ensemble import RandomForestClassifier

    if not isinstance(estimator, RandomForestClassifier):
        return estimator
    estimator = copy.deepcopy(estimator)
    for tree in (member.tree_ for member in estimator.estimators_):
        for statistics in (tree.impurity, tree.n_node_samples, tree.weighted_n_node_samples):
            statistics[:] = 0
        tree.value[tree.children_left >= 0] = 0
    return estimator


def load_estimator(path: Path, name: str, *, n_features: int | None = None, n_classes: int | None = None) -> Any:
    """Loads a classifier from an untrusted file.

    Every type in the file is audited before anything is built, and every shape and index that compiled code relies on
    is checked before the classifier is used. Nothing in the file is ever executed.

    Args:
        path: A ``.skops`` file.
        name: Kind of the classifier, a key of `bc_sam.classifiers.kinds.KINDS`; it determines the allowed types.
        n_features: Dimension of the embeddings; any if not given.
        n_classes: Number of classes, which must be 0, 1, 2 ...; any if not given.

    Returns:
        The fitted estimator.

    Raises:
        WeightsError: If the file is missing, damaged or not a skops file, or holds another classifier.
        UntrustedFileError: If the kind is unknown, the file holds a type that the kind does not allow, or it is a zip
            bomb; nothing has been built from it then.
        BCSamError: If the classifier needs a package that is not installed.
    """
    if name not in KINDS:
        raise UntrustedFileError(
            f"{path} is a classifier of unknown kind {name!r}. Install a newer version of bc_sam, or remove the file."
        )
    kind = KINDS[name]
    kind.require_installed()
    from bc_sam.classifiers.safe_io.validate_sklearn import require_sound

    try:
        estimator = _read(path, kind, n_features, n_classes)
        require_sound(estimator, kind.check, n_features, n_classes)
    except BCSamError:
        raise
    except FileNotFoundError as error:
        raise WeightsError(f"The classifier file {path} is missing. Save the model again.") from error
    except Exception as error:  # zip, JSON and array readers raise nearly every built-in type on damaged input
        raise WeightsError(
            f"{path} is not a valid {name!r} classifier: {error}. It is damaged, malicious, or not a skops file "
            "(pickles are not read). Save or download the model again, or refit the classifier on data that you trust."
        ) from error
    return estimator


def _read(path: Path, kind: ClassifierKind, n_features: int | None, n_classes: int | None) -> Any:
    from skops import io as skops_io

    with zipfile.ZipFile(path) as archive:
        nodes = audit(archive, kind.types)
        if kind.read is not None:
            estimator = kind.read(archive, nodes, n_features, n_classes)
        else:
            estimator = skops_io.load(path, trusted=trusted_types(kind))
    # Set before the validation already uses it: a file must not choose the number of threads.
    return estimator.set_params(**kind.settings) if kind.settings else estimator


def trusted_types(kind: ClassifierKind) -> list[str]:
    """Returns the types of a kind in the format of the ``trusted`` argument of `skops.io.load`."""
    return [type_name.partition(":")[2] for type_name in kind.types]
