"""The folder ``classifiers/`` of a model: fitted classifiers, and latents to check them by or fit them again."""

import logging
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.exceptions import InconsistentVersionWarning

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.classifiers.safe_io.skops_files import load_estimator, save_estimator
from bc_sam.classifiers.thumbnails import load_thumbnails, save_thumbnails
from bc_sam.config.model import BCSamConfig
from bc_sam.errors import WeightsError
from bc_sam.models.folder import CLASSIFIERS, REFERENCE, THUMBNAILS

logger = logging.getLogger(__name__)

#: The libraries whose version changes what is in a model folder.
LIBRARIES = ("bc_sam", "torch", "transformers", "peft", "scikit-learn", "skops", "xgboost")

# Those whose other version may read a classifier wrongly.
_FITTED_BY = ("scikit-learn", "xgboost")


def save_classifiers(
    classifiers: Mapping[str, LatentClassifier], reference: ReferenceLatents | None, folder: Path
) -> None:
    """Writes classifiers, their reference latents and the pictures of those, if any, into a model folder."""
    (folder / CLASSIFIERS).mkdir()
    for name, classifier in classifiers.items():
        path = folder / CLASSIFIERS / f"{name}.skops"
        if classifier.file is None:
            save_estimator(classifier.estimator, path)
        else:
            path.write_bytes(classifier.file)
    if reference is not None:
        reference.remember(classifiers).save(folder / REFERENCE)
        if reference.thumbnails:
            save_thumbnails(reference.thumbnails, folder / THUMBNAILS)


def load_classifiers(
    folder: Path, config: BCSamConfig, *, only: Collection[str] | None = None, refit: bool = False
) -> tuple[dict[str, LatentClassifier], ReferenceLatents | None]:
    """Reads the classifiers of a model folder.

    Where another version of scikit-learn or XGBoost wrote them, they must still say of the reference latents what
    they said then. Where XGBoost is not installed, its classifier is passed over.

    Args:
        folder: A model folder whose files have been checked.
        config: Its config.
        only: Names of those to read, ``"default"`` among them for the config's; ``None`` for all.
        refit: Fit the classifiers on the reference latents instead, and open no skops file.

    Raises:
        UntrustedFileError: If a file holds a type that its classifier has no need of.
        WeightsError: If a file is damaged, or under these versions says something else than when it was saved.
        DataError: If they are to be fitted again, and the folder holds no labelled latents.
    """
    reference = _load_reference(folder, config)
    names = _chosen(config, only)
    if "xgboost" in names and not find_spec("xgboost"):
        logger.warning("XGBoost is not installed, so its classifier is not there: pip install 'bc_sam[xgboost]'.")
        names = tuple(name for name in names if name != "xgboost")
    if refit:
        return _refitted(folder, names, config, reference), reference
    n_features = config.latent_dim
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)  # `_check_versions` looks at what it means
        classifiers = {}
        for name in names:
            classes = np.array(config.classifiers[name])
            path = folder / CLASSIFIERS / f"{name}.skops"
            estimator = load_estimator(path, name, n_features=n_features, n_classes=len(classes))
            classifiers[name] = LatentClassifier(estimator, classes, len(config.labels), path.read_bytes())
    _check_versions(folder, config, classifiers, reference)
    return classifiers, reference


def installed_versions() -> dict[str, str]:
    """Returns the version of each of `LIBRARIES` that is installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an extra that was left out
            continue
    return found


def _chosen(config: BCSamConfig, only: Collection[str] | None) -> tuple[str, ...]:
    """Names of the classifiers to read; one that there is not is said by whoever asks for its opinion."""
    if only is None:
        return tuple(config.classifiers)
    wanted = {config.default_classifier if name == "default" else name for name in only}
    return tuple(name for name in config.classifiers if name in wanted)


def _load_reference(folder: Path, config: BCSamConfig) -> ReferenceLatents | None:
    if REFERENCE not in config.files:
        return None
    sizes = {"latent_dim": config.latent_dim, "n_labels": len(config.labels), "n_domains": len(config.domains)}
    reference = ReferenceLatents.load(folder / REFERENCE, **sizes)
    if THUMBNAILS not in config.files:
        return reference
    return replace(reference, thumbnails=load_thumbnails(folder / THUMBNAILS, len(reference.labels)))


def _refitted(
    folder: Path, names: tuple[str, ...], config: BCSamConfig, reference: ReferenceLatents | None
) -> dict[str, LatentClassifier]:
    if reference is None:
        raise WeightsError(f"{folder} stores no latents, so its classifiers cannot be fitted again. Load it as it is.")
    return reference.fit(names, len(config.labels))


def _check_versions(
    folder: Path,
    config: BCSamConfig,
    classifiers: Mapping[str, LatentClassifier],
    reference: ReferenceLatents | None,
) -> None:
    """Where a library that fitted the classifiers has changed, compares what they say with what they said."""
    installed = installed_versions()
    changed = [
        f"{name} {config.versions[name]} (here {installed[name]})"
        for name in _FITTED_BY
        if name in installed and name in config.versions and installed[name] != config.versions[name]
    ]
    if not changed or not classifiers:
        return
    saved_with = " and ".join(changed)
    if reference is None or not reference.probabilities:
        logger.warning("%s was saved with %s and stores nothing to check that by.", folder, saved_with)
        return
    off = reference.differences(classifiers)
    if off:
        named = ", ".join(f"{name} (off by {difference:.2g})" for name, difference in off.items())
        raise WeightsError(
            f"{folder} was saved with {saved_with}, and no longer gives the same probabilities: {named}. Install the "
            "versions that it was saved with, or load it with refit=True (bc-sam save MODEL NEW --refit), which fits "
            "the classifiers again on the stored latents."
        )
    logger.info("%s was saved with %s; its classifiers still give the same probabilities.", folder, saved_with)
