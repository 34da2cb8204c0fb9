"""One registry entry is enough for a model to fit, save, load and predict with a new kind of classifier."""

import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
from hostile import rewrite_skops
from sklearn.naive_bayes import GaussianNB
from small_model import small_model

from bc_sam import BCSam
from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.kinds import ARRAY_TYPES, KINDS, PLAIN_TYPES, ClassifierKind, kind_of
from bc_sam.classifiers.safe_io.checks import require_array, require_type
from bc_sam.classifiers.skops_files import load_estimator, save_estimator
from bc_sam.errors import BCSamError, ConfigError, UntrustedFileError, WeightsError
from bc_sam.space.views.markup import plain


def check_naive_bayes(estimator, n_features, n_classes):
    require_type(estimator, GaussianNB, n_features)
    for array in (estimator.theta_, estimator.var_):
        require_array(array, n_classes, n_features)
    require_array(estimator.class_prior_, n_classes)


NAIVE_BAYES = ClassifierKind(
    "Naive Bayes",
    build=lambda seed, counts: GaussianNB(var_smoothing=1e-3),
    types=(*PLAIN_TYPES, *ARRAY_TYPES, "NdArrayNode:numpy.float32", "ObjectNode:sklearn.naive_bayes.GaussianNB"),
    check=check_naive_bayes,
)


@pytest.fixture
def naive_bayes(monkeypatch):
    """Registers a seventh kind."""
    monkeypatch.setitem(KINDS, "naive_bayes", NAIVE_BAYES)


@pytest.fixture
def saved(naive_bayes, labelled_latents, tmp_path):
    """The file of a fitted classifier of the seventh kind."""
    save_estimator(LatentClassifier.fit("naive_bayes", *labelled_latents, 13).estimator, tmp_path / "nb.skops")
    return tmp_path / "nb.skops"


class TestSeventhKind:
    def test_a_model_with_it_round_trips(self, naive_bayes, tmp_path):
        model = small_model(classifiers=("naive_bayes", "logistic"))
        cells = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
        model.save_pretrained(tmp_path / "model")
        loaded = BCSam.from_pretrained(tmp_path / "model", device="cpu")
        assert type(loaded.classifiers["naive_bayes"].estimator) is GaussianNB
        assert loaded.config.default_classifier == "naive_bayes"
        assert loaded.predict(cells) == model.predict(cells)
        latents = model.reference.latents
        np.testing.assert_array_equal(
            loaded.classifiers["naive_bayes"].predict_proba(latents),
            model.classifiers["naive_bayes"].predict_proba(latents),
        )
        assert "naive_bayes" in (tmp_path / "model" / "README.md").read_text()

    def test_it_can_be_refitted_from_the_model_folder(self, naive_bayes, tmp_path):
        model = small_model(classifiers=("naive_bayes",))
        model.save_pretrained(tmp_path / "model")
        loaded = BCSam.from_pretrained(tmp_path / "model", device="cpu", refit=True)
        latents = model.reference.latents
        np.testing.assert_allclose(
            loaded.classifiers["naive_bayes"].predict_proba(latents),
            model.classifiers["naive_bayes"].predict_proba(latents),
            atol=1e-6,
        )

    def test_the_page_uses_its_display_name(self, naive_bayes):
        assert plain("naive_bayes") == "Naive Bayes"

    def test_its_check_is_applied_on_loading(self, saved):
        assert load_estimator(saved, "naive_bayes", n_features=8).n_features_in_ == 8
        with pytest.raises(WeightsError, match="fitted on embeddings of another dimension"):
            load_estimator(saved, "naive_bayes", n_features=9)

    def test_only_its_types_are_loaded(self, saved, monkeypatch):
        monkeypatch.setitem(KINDS, "naive_bayes", replace(NAIVE_BAYES, types=PLAIN_TYPES))
        with pytest.raises(UntrustedFileError, match=r"NdArrayNode:numpy\.ndarray"):
            load_estimator(saved, "naive_bayes")

    def test_a_file_cannot_use_a_type_of_another_kind(self, saved, tmp_path):
        def pose_as_regression(members):
            members["schema.json"].update(__class__="LogisticRegression", __module__="sklearn.linear_model._logistic")

        path = rewrite_skops(saved, tmp_path / "posing.skops", pose_as_regression)
        with pytest.raises(UntrustedFileError, match="LogisticRegression"):
            load_estimator(path, "naive_bayes")

    def test_without_its_entry_its_files_are_refused(self, saved, monkeypatch):
        monkeypatch.delitem(KINDS, "naive_bayes")
        with pytest.raises(UntrustedFileError, match="'naive_bayes'"):
            load_estimator(saved, "naive_bayes")


def test_an_unknown_kind_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'knn'; choose from rf, svm_poly, xgboost, svm_rbf, ann, logistic"):
        kind_of("knn")


@pytest.mark.parametrize("name", KINDS)
def test_display_names_are_distinct_and_differ_from_the_keys(name):
    others = {kind.display_name for other, kind in KINDS.items() if other != name}
    assert KINDS[name].display_name not in others | {name}


class TestOptionalPackage:
    def test_a_kind_without_one_is_always_available(self):
        assert KINDS["rf"].is_installed
        KINDS["rf"].require_installed()

    def test_a_missing_one_is_named_with_its_install_command(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "xgboost", None)
        assert not KINDS["xgboost"].is_installed
        with pytest.raises(BCSamError, match=r'XGBoost is not installed\. Run: pip install "bc_sam\[xgboost\]"'):
            KINDS["xgboost"].require_installed()


def test_settings_override_those_of_the_file(fitted_classifiers, tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "rf", replace(KINDS["rf"], settings={"n_jobs": 3}))
    save_estimator(fitted_classifiers["rf"].estimator, tmp_path / "rf.skops")
    assert load_estimator(tmp_path / "rf.skops", "rf").n_jobs == 3


@pytest.mark.parametrize("name", KINDS)
def test_building_is_deterministic(name):
    first, second = (KINDS[name].build(5, np.array([4, 4])) for _ in range(2))
    assert pickle.dumps(first.get_params(deep=False)) == pickle.dumps(second.get_params(deep=False))
