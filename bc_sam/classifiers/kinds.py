"""The registry of classifiers. To add a kind of classifier, add one entry to `KINDS`.

An entry defines how a classifier is built, which types its file may hold, how a loaded one is validated, which
optional package it needs, and its display name. Fitting, saving, loading, the model card and the web page all use it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np

from bc_sam.classifiers.safe_io.validate_xgboost import read_booster
from bc_sam.errors import ConfigError, MissingPackageError
from bc_sam.utils.extras import install_command

# scikit-learn takes a second to import and is not needed to know which kinds there are, so only its users import it.
if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin


@dataclass(frozen=True)
class ClassifierKind:
    """One kind of classifier.

    Attributes:
        display_name: Human-readable name, such as ``"Random forest"``.
        build: Returns an unfitted scikit-learn classifier, given a seed and the number of training cells per class,
            (k,) int64, each at least 2.
        types: Every type that a saved classifier may hold, named as in `bc_sam.classifiers.safe_io.audit.audit`:
            ``"<skops node>:<module>.<class>"``. A file with any other type is refused before anything is built; the
            error lists the types, which helps to compile this list for a new kind.
        check: Raises `ValueError` unless a loaded classifier, given its numbers of features and classes, has the
            shapes and indices that compiled code relies on. It runs before the classifier is first used.
        read: Builds the classifier from an audited archive and its schema nodes, given the numbers of features and
            classes (``None`` for any). By default skops builds it from `types`.
        settings: Parameters set on every loaded classifier before it is checked, overriding its file.
        package: Optional dependency: the name of the package and of the bc_sam extra that installs it.
    """

    display_name: str
    build: "Callable[[int, np.ndarray], ClassifierMixin]"
    types: tuple[str, ...]
    check: Callable[[Any, int, int], None]
    read: Callable[[ZipFile, Sequence[Mapping[str, Any]], int | None, int | None], Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    package: str | None = None

    @property
    def is_installed(self) -> bool:
        """Whether its optional dependency, if any, is installed."""
        return self.package is None or find_spec(self.package) is not None

    @property
    def how_to_install(self) -> str:
        """The command that installs its optional dependency."""
        return install_command(self.package) if self.package else ""

    def require_installed(self) -> None:
        """Checks that its optional dependency is installed.

        Raises:
            MissingPackageError: If it is not.
        """
        if not self.is_installed:
            raise MissingPackageError(f"{self.display_name} is not installed. Run: {self.how_to_install}")


def _build_forest(seed: int, counts: np.ndarray) -> "ClassifierMixin":
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=200, max_depth=16, n_jobs=-1, random_state=seed)


def _build_svm(kernel: str, seed: int, counts: np.ndarray) -> "ClassifierMixin":
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    # Platt scaling needs every class in each of its folds; `ensemble=False` keeps one SVM, not one per fold.
    folds = min(5, int(counts.min()))
    svm = CalibratedClassifierCV(SVC(kernel=kernel, random_state=seed), cv=folds, ensemble=False)
    return make_pipeline(StandardScaler(), svm)


def _build_xgboost(seed: int, counts: np.ndarray) -> "ClassifierMixin":
    from xgboost import XGBClassifier

    return XGBClassifier(random_state=seed)


def _build_neural_network(seed: int, counts: np.ndarray) -> "ClassifierMixin":
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Early stopping holds out a stratified tenth of the cells, which must have room for a cell of every class. It need
    # not include one: a class that is rare among many may be held out nowhere, and is then only learned.
    early_stopping = counts.sum() >= 10 * len(counts)
    network = MLPClassifier(max_iter=1000, early_stopping=bool(early_stopping), random_state=seed)
    return make_pipeline(StandardScaler(), network)


def _build_logistic_regression(seed: int, counts: np.ndarray) -> "ClassifierMixin":
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # A tenth of scikit-learn's default C is as accurate within a laboratory and more accurate across laboratories:
    # with bc-sam-tiny, 52 instead of 43 % from Acevedo-20 to Matek-19, and 71 instead of 69 % the other way.
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, random_state=seed))


def _check(check: str, *first: Any) -> Callable[[Any, int, int], None]:
    """Returns a check of `bc_sam.classifiers.safe_io.validate_sklearn`, which imports scikit-learn, by its name."""

    def checked(estimator: Any, n_features: int, n_classes: int) -> None:
        from bc_sam.classifiers.safe_io import validate_sklearn

        getattr(validate_sklearn, check)(*first, estimator, n_features, n_classes)

    return checked


#: Plain data types, found in every file.
PLAIN_TYPES = (
    "DictNode:builtins.dict",
    "JsonNode:builtins.str",
    "ListNode:builtins.list",
    "TypeNode:builtins.str",
)
ARRAY_TYPES = ("NdArrayNode:numpy.ndarray", "TupleNode:builtins.tuple")

#: Types of a pipeline that standardizes the embedding and passes it to a classifier.
SCALED_TYPES = (
    *PLAIN_TYPES,
    *ARRAY_TYPES,
    "NdArrayNode:numpy.float64",
    "ObjectNode:sklearn.pipeline.Pipeline",
    "ObjectNode:sklearn.preprocessing._data.StandardScaler",
)


def _svm(display_name: str, kernel: str) -> ClassifierKind:
    return ClassifierKind(
        display_name,
        build=partial(_build_svm, kernel),
        types=(
            *SCALED_TYPES,
            "ObjectNode:sklearn.calibration.CalibratedClassifierCV",
            "ObjectNode:sklearn.calibration._CalibratedClassifier",
            "ObjectNode:sklearn.calibration._SigmoidCalibration",
            "ObjectNode:sklearn.svm._classes.SVC",
        ),
        check=_check("check_svm", kernel),
    )


#: Every kind of classifier, by its name in configs, files and on the command line (BC-SAM, section 2.3).
KINDS: dict[str, ClassifierKind] = {
    "rf": ClassifierKind(
        "Random forest",
        build=_build_forest,
        types=(
            *PLAIN_TYPES,
            *ARRAY_TYPES,
            "NdArrayNode:numpy.int64",
            "ObjectNode:sklearn.ensemble._forest.RandomForestClassifier",
            "ObjectNode:sklearn.tree._classes.DecisionTreeClassifier",
            "TreeNode:sklearn.tree._tree.Tree",
        ),
        check=_check("check_forest"),
        # A file must not choose the number of threads. On small batches one thread is three times as fast as several
        # (benchmarks/README.md); for a million embeddings use `with joblib.parallel_config(n_jobs=-1)`.
        settings={"n_jobs": None, "verbose": 0},
    ),
    "svm_poly": _svm("SVM, polynomial", "poly"),
    "xgboost": ClassifierKind(
        "XGBoost",
        build=_build_xgboost,
        types=(
            *PLAIN_TYPES,
            "BytearrayNode:builtins.bytearray",
            "ObjectNode:xgboost.core.Booster",
            "ObjectNode:xgboost.sklearn.XGBClassifier",
        ),
        # `read_booster` checks every index before XGBoost, which dereferences some on loading, gets the model.
        check=lambda estimator, n_features, n_classes: None,
        read=read_booster,
        package="xgboost",
    ),
    "svm_rbf": _svm("SVM, radial", "rbf"),
    "ann": ClassifierKind(
        "Neural network",
        build=_build_neural_network,
        types=(
            *SCALED_TYPES,
            "NdArrayNode:numpy.float32",  # the loss, if fitted on float32 with an older SciPy, such as 1.14
            "ObjectNode:sklearn.neural_network._multilayer_perceptron.MLPClassifier",
            "ObjectNode:sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
            "ObjectNode:sklearn.preprocessing._label.LabelBinarizer",
            "RandomStateNode:numpy.random.mtrand.RandomState",
        ),
        check=_check("check_neural_network"),
    ),
    "logistic": ClassifierKind(
        "Logistic regression",
        build=_build_logistic_regression,
        types=(*SCALED_TYPES, "ObjectNode:sklearn.linear_model._logistic.LogisticRegression"),
        check=_check("check_logistic_regression"),
    ),
}


def kind_of(name: str) -> ClassifierKind:
    """Returns a kind of classifier by name.

    Raises:
        ConfigError: If the name is unknown; the message lists the known ones.

    Example:
        >>> kind_of("rf").display_name
        'Random forest'
    """
    if name not in KINDS:
        raise ConfigError(f"Unknown classifier {name!r}; choose from {', '.join(KINDS)}.")
    return KINDS[name]
