"""The folder ``classifiers/`` of a model: fitted classifiers, and reference embeddings to verify or refit them."""

import logging
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.kinds import KINDS
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.classifiers.skops_files import load_estimator, save_estimator
from bc_sam.classifiers.thumbnails import load_thumbnails, save_thumbnails
from bc_sam.config.model import BCSamConfig
from bc_sam.errors import ConfigError, WeightsError
from bc_sam.models.folder import CLASSIFIERS, REFERENCE, THUMBNAILS

logger = logging.getLogger(__name__)

_OPTIONAL = tuple(kind.package for kind in KINDS.values() if kind.package)

#: Libraries whose version affects the contents of a model folder.
LIBRARIES = ("bc_sam", "torch", "transformers", "peft", "scikit-learn", "skops", *_OPTIONAL)

#: Why a model cannot name cells, and what to do.
NO_CLASSIFIERS = (
    "This model has no classifiers yet, so it embeds and segments cells, but cannot name them. Fit classifiers on "
    "labelled cells: bc-sam fit MODEL --data NAME=SOURCE --out NEW."
)

# Libraries of which another version may load a classifier incorrectly.
_FITTED_BY = ("scikit-learn", *_OPTIONAL)


def save_classifiers(
    classifiers: Mapping[str, LatentClassifier], reference: ReferenceLatents | None, folder: Path
) -> None:
    """Writes classifiers, reference embeddings and thumbnails, if any, to a model folder.

    A classifier that was loaded from a file is written back byte for byte.

    Args:
        classifiers: Classifiers by the name of their kind.
        reference: A sample of the embeddings that they were fitted on.
        folder: The model folder, without a folder ``classifiers``.
    """
    (folder / CLASSIFIERS).mkdir()
    for name, classifier in classifiers.items():
        path = folder / CLASSIFIERS / f"{name}.skops"
        if classifier.file is None:
            save_estimator(classifier.estimator, path)
        else:
            path.write_bytes(classifier.file if isinstance(classifier.file, bytes) else classifier.file.read_bytes())
    if reference is not None:
        reference.remember(classifiers).save(folder / REFERENCE)
        if reference.thumbnails:
            save_thumbnails(reference.thumbnails, folder / THUMBNAILS)


def load_classifiers(
    folder: Path, config: BCSamConfig, *, only: str | Collection[str] | None = None, refit: bool = False
) -> tuple[dict[str, LatentClassifier], ReferenceLatents | None]:
    """Loads the classifiers of a model folder.

    Classifiers saved with another version of a library must reproduce the probabilities stored with the reference
    embeddings. Classifiers whose optional package is not installed are skipped with a warning.

    Args:
        folder: A model folder whose files have been checked.
        config: Its config.
        only: Names of the classifiers to load, or one name, where ``"default"`` is the config's; ``None`` loads all.
        refit: Fit the classifiers on the reference embeddings instead of opening any skops file.

    Returns:
        The classifiers by name, and the reference embeddings if the folder has any.

    Raises:
        ConfigError: If the model has no classifier of a name.
        UntrustedFileError: If a file contains a type that its kind of classifier does not need.
        WeightsError: If a file is damaged, or gives other probabilities than when it was saved; or if the classifiers
            are to be refitted, and the folder has no reference embeddings.
        DataError: If the classifiers are to be refitted, and no reference embedding is labelled.
    """
    from sklearn.exceptions import InconsistentVersionWarning

    reference = load_reference(folder, config)
    names = installed_only(selected_classifiers(config, only))
    if refit:
        return _refitted(folder, names, config, reference), reference
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)  # handled by `_check_versions`
        classifiers = {name: _load_classifier(folder, name, config) for name in names}
    _check_versions(folder, config, classifiers, reference)
    return classifiers, reference


def stored_pictures(folder: Path, config: BCSamConfig) -> dict[str, int]:
    """Returns the number of thumbnails of training cells in a model folder, by laboratory."""
    if THUMBNAILS not in config.files:
        return {}
    reference = load_reference(folder, config)
    return reference.n_thumbnails(config.domains) if reference else {}


def installed_versions() -> dict[str, str]:
    """Returns the version of each of `LIBRARIES` that is installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an optional dependency
            continue
    return found


def selected_classifiers(config: BCSamConfig, only: str | Collection[str] | None) -> tuple[str, ...]:
    """Returns the names of the classifiers to load; see `load_classifiers`.

    Raises:
        ConfigError: If the model has no classifier of a name.
    """
    if only is None:
        return tuple(config.classifiers)
    wanted = [only] if isinstance(only, str) else only
    selected = {config.default_classifier if name == "default" else name for name in wanted}
    if unknown := sorted(selected - set(config.classifiers)):
        if not config.classifiers:
            raise ConfigError(NO_CLASSIFIERS)
        known = ", ".join(config.classifiers)
        raise ConfigError(f"This model has no classifier {unknown[0]!r}. Its classifiers: {known}.")
    return tuple(name for name in config.classifiers if name in selected)


def installed_only(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the classifiers whose package is installed, and warns of the others."""
    missing = [name for name in names if name in KINDS and not KINDS[name].is_installed]
    for name in missing:
        kind = KINDS[name]
        logger.warning(
            "%s is not installed, so its classifier is skipped: %s.", kind.display_name, kind.how_to_install
        )
    return tuple(name for name in names if name not in missing)


def _load_classifier(folder: Path, name: str, config: BCSamConfig) -> LatentClassifier:
    path = folder / CLASSIFIERS / f"{name}.skops"
    classes = np.array(config.classifiers[name])
    estimator = load_estimator(path, name, n_features=config.latent_dim, n_classes=len(classes))
    return LatentClassifier(estimator, classes, len(config.labels), path.read_bytes())


def load_reference(folder: Path, config: BCSamConfig) -> ReferenceLatents | None:
    """Loads the reference embeddings of a model folder with their thumbnails, if it has any."""
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
        raise WeightsError(f"{folder} has no reference embeddings to refit the classifiers on. Load it without refit.")
    return reference.fit(names, len(config.labels))


def _check_versions(
    folder: Path,
    config: BCSamConfig,
    classifiers: Mapping[str, LatentClassifier],
    reference: ReferenceLatents | None,
) -> None:
    """Compares the classifiers' probabilities with the stored ones if they were saved with other library versions."""
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
        logger.warning("%s was saved with %s, and has no stored probabilities to verify it by.", folder, saved_with)
        return
    differences = reference.differences(classifiers)
    if differences:
        details = ", ".join(f"{name} (off by {difference:.2g})" for name, difference in differences.items())
        raise WeightsError(
            f"{folder} was saved with {saved_with}, and no longer gives the same probabilities: {details}. Install "
            "the versions it was saved with, or load it with refit=True (bc-sam save MODEL NEW --refit), which "
            "refits the classifiers on the stored embeddings."
        )
    logger.info("%s was saved with %s; its classifiers still give the same probabilities.", folder, saved_with)
