"""Classifier files are round-tripped, verified, and checked against other library versions."""

import logging
import sys
from dataclasses import replace

import numpy as np
import pytest

from bc_sam.classifiers.fitting import LatentClassifier, fit_classifiers
from bc_sam.classifiers.kinds import KINDS
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.config.labels import LABELS
from bc_sam.config.model import BCSamConfig
from bc_sam.errors import ConfigError, DataError, UntrustedFileError, WeightsError
from bc_sam.models.classifier_files import LIBRARIES, installed_versions, load_classifiers, save_classifiers
from bc_sam.models.folder import REFERENCE, THUMBNAILS, hash_files

N = len(LABELS)
CLASSES = (0, 3, 7)
NAMES = ("logistic", "rf")


@pytest.fixture(scope="module")
def latents():
    """Embeddings (60, 6) of three classes, their labels and domains."""
    labels = np.repeat(CLASSES, 20)
    values = np.random.default_rng(0).standard_normal((60, 6)) + labels[:, None]
    return values.astype(np.float32), labels, np.arange(60) % 2


@pytest.fixture(scope="module")
def classifiers(latents):
    return fit_classifiers(NAMES, *latents[:2], N)


@pytest.fixture(scope="module")
def reference(latents):
    return ReferenceLatents.sample(*latents, image=lambda row: np.full((64, 64, 3), row, np.uint8))


def config_of(folder, names=NAMES, **changes):
    """The config of a model folder with these classifiers."""
    return BCSamConfig(
        domains=("north", "south"),
        classifiers=dict.fromkeys(names, CLASSES),
        default_classifier=names[0],
        latent_dim=6,
        files=hash_files(folder),
        **{"versions": installed_versions(), **changes},
    )


@pytest.fixture
def folder(classifiers, reference, tmp_path):
    save_classifiers(classifiers, reference, tmp_path)
    return tmp_path


def same(one, other, latents):
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name].predict_proba(latents), other[name].predict_proba(latents))


class TestRoundTrip:
    def test_classifiers_give_the_same_probabilities(self, folder, classifiers, latents):
        loaded, _ = load_classifiers(folder, config_of(folder))
        same(loaded, classifiers, latents[0])
        assert all(classifier.classes.tolist() == list(CLASSES) for classifier in loaded.values())

    def test_reference_embeddings_keep_probabilities_and_thumbnails(self, folder, reference, classifiers):
        _, loaded = load_classifiers(folder, config_of(folder))
        np.testing.assert_array_equal(loaded.latents, reference.latents)
        np.testing.assert_array_equal(loaded.labels, reference.labels)
        assert loaded.thumbnails == reference.thumbnails
        for name, classifier in classifiers.items():
            np.testing.assert_array_equal(loaded.probabilities[name], classifier.learned_proba(loaded.checked))

    def test_stored_probabilities_ignore_the_restriction_of_labels(self, latents, reference, tmp_path):
        restricted = fit_classifiers(("logistic",), *latents[:2], N)
        restricted["logistic"].restrict_labels([3])
        save_classifiers(restricted, reference, tmp_path)
        _, loaded = load_classifiers(tmp_path, config_of(tmp_path, ("logistic",)))
        assert (loaded.probabilities["logistic"][:, 0] > 0.5).any()

    def test_loaded_classifiers_are_saved_byte_for_byte(self, folder, tmp_path_factory):
        loaded, reference = load_classifiers(folder, config_of(folder))
        copy = tmp_path_factory.mktemp("copy")
        save_classifiers(loaded, reference, copy)
        assert hash_files(copy) == hash_files(folder)

    def test_reference_embeddings_are_optional(self, classifiers, latents, tmp_path):
        save_classifiers(classifiers, None, tmp_path)
        loaded, reference = load_classifiers(tmp_path, config_of(tmp_path))
        assert reference is None
        same(loaded, classifiers, latents[0])

    def test_thumbnails_are_optional(self, classifiers, reference, tmp_path):
        save_classifiers(classifiers, replace(reference, thumbnails=()), tmp_path)
        assert (tmp_path / REFERENCE).exists()
        assert not (tmp_path / THUMBNAILS).exists()
        assert load_classifiers(tmp_path, config_of(tmp_path))[1].thumbnails == ()


class TestSelection:
    @pytest.mark.parametrize(
        ("only", "expected"),
        [
            (None, ["logistic", "rf"]),
            (["rf"], ["rf"]),
            (["rf", "logistic"], ["logistic", "rf"]),
            (["default"], ["logistic"]),
            ("default", ["logistic"]),
            ("rf", ["rf"]),
            ([], []),
        ],
    )
    def test_requested_classifiers_are_loaded_in_config_order(self, folder, only, expected):
        assert list(load_classifiers(folder, config_of(folder), only=only)[0]) == expected

    def test_an_unknown_name_is_rejected_with_the_known_ones(self, folder):
        with pytest.raises(ConfigError, match=r"no classifier 'knn'. Its classifiers: logistic, rf"):
            load_classifiers(folder, config_of(folder), only=["rf", "knn"])

    def test_other_files_are_not_opened(self, folder):
        (folder / "classifiers" / "rf.skops").write_bytes(b"not a classifier")
        assert list(load_classifiers(folder, config_of(folder), only=["logistic"])[0]) == ["logistic"]

    def test_a_missing_package_skips_its_classifier_with_a_warning(self, latents, tmp_path, monkeypatch, caplog):
        save_classifiers(fit_classifiers(("logistic", "xgboost"), *latents[:2], N), None, tmp_path)
        monkeypatch.setitem(sys.modules, "xgboost", None)
        assert list(load_classifiers(tmp_path, config_of(tmp_path, ("logistic", "xgboost")))[0]) == ["logistic"]
        assert "XGBoost is not installed" in caplog.text
        assert 'pip install "bc_sam[xgboost]"' in caplog.text


class TestUntrustedFiles:
    def test_a_damaged_file_is_rejected(self, folder):
        (folder / "classifiers" / "rf.skops").write_bytes(b"not a classifier")
        with pytest.raises(WeightsError, match=r"rf\.skops is not a valid 'rf' classifier"):
            load_classifiers(folder, config_of(folder))

    def test_a_classifier_of_another_kind_is_rejected(self, folder):
        (folder / "classifiers" / "rf.skops").replace(folder / "classifiers" / "logistic.skops")
        with pytest.raises(UntrustedFileError, match=r"logistic\.skops holds types"):
            load_classifiers(folder, config_of(folder))

    def test_another_embedding_size_is_rejected(self, folder):
        with pytest.raises(WeightsError, match=r"reference\.safetensors does not fit the model"):
            load_classifiers(folder, replace(config_of(folder), latent_dim=7))
        (folder / REFERENCE).unlink()
        (folder / THUMBNAILS).unlink()
        with pytest.raises(WeightsError, match="embeddings of another dimension"):
            load_classifiers(folder, replace(config_of(folder), latent_dim=7))

    def test_another_number_of_classes_is_rejected(self, folder):
        config = replace(config_of(folder), classifiers=dict.fromkeys(NAMES, CLASSES[:2]))
        with pytest.raises(WeightsError, match=r"is not a valid '\w+' classifier"):
            load_classifiers(folder, config)


class TestRefitting:
    def test_classifiers_are_fitted_on_the_reference_embeddings(self, folder, reference, latents):
        loaded, _ = load_classifiers(folder, config_of(folder), refit=True)
        same(loaded, reference.fit(NAMES, N), latents[0])

    def test_no_skops_file_is_opened(self, folder, reference, latents):
        for name in NAMES:
            (folder / "classifiers" / f"{name}.skops").write_bytes(b"not a classifier")
        same(load_classifiers(folder, config_of(folder), refit=True)[0], reference.fit(NAMES, N), latents[0])

    def test_fails_without_reference_embeddings(self, classifiers, tmp_path):
        save_classifiers(classifiers, None, tmp_path)
        with pytest.raises(WeightsError, match="has no reference embeddings to refit"):
            load_classifiers(tmp_path, config_of(tmp_path), refit=True)

    def test_fails_without_labels(self, classifiers, reference, tmp_path):
        save_classifiers(classifiers, replace(reference, labels=np.full(60, -1)), tmp_path)
        with pytest.raises(DataError, match="no labelled reference embeddings"):
            load_classifiers(tmp_path, config_of(tmp_path), refit=True)


class TestOtherVersions:
    """The config lists another scikit-learn version than the installed one."""

    OLD = {"scikit-learn": "0.1"}  # noqa: RUF012

    def test_equal_probabilities_are_accepted(self, folder, caplog):
        with caplog.at_level(logging.INFO, logger="bc_sam"):
            load_classifiers(folder, config_of(folder, versions=self.OLD))
        assert "saved with scikit-learn 0.1" in caplog.text
        assert "still give the same probabilities" in caplog.text

    @pytest.fixture
    def changed(self, classifiers, reference, latents, tmp_path):
        """A folder whose random forest contradicts the stored probabilities."""
        save_classifiers(classifiers, reference, tmp_path)
        other = LatentClassifier.fit("rf", latents[0][::-1].copy(), latents[1], N)
        (tmp_path / "other").mkdir()
        save_classifiers({"rf": other}, None, tmp_path / "other")
        (tmp_path / "other" / "classifiers" / "rf.skops").replace(tmp_path / "classifiers" / "rf.skops")
        return tmp_path

    def test_different_probabilities_are_rejected(self, changed):
        with pytest.raises(WeightsError, match=r"scikit-learn 0\.1.*the same probabilities: rf \(off by .*refit=True"):
            load_classifiers(changed, config_of(changed, versions=self.OLD))

    def test_the_same_version_is_not_checked(self, changed):
        assert list(load_classifiers(changed, config_of(changed))[0]) == list(NAMES)

    def test_missing_probabilities_are_warned_about(self, classifiers, tmp_path, caplog):
        save_classifiers(classifiers, None, tmp_path)
        load_classifiers(tmp_path, config_of(tmp_path, versions=self.OLD))
        assert "no stored probabilities to verify it by" in caplog.text


def test_versions_of_all_relevant_libraries_are_recorded():
    assert set(installed_versions()) <= set(LIBRARIES)
    assert {"bc_sam", "scikit-learn", *(kind.package for kind in KINDS.values() if kind.package)} <= set(LIBRARIES)
