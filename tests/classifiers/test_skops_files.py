"""Classifier files may be untrusted: whatever one holds, loading it executes no code from it."""

import io
import json
import pickle
import subprocess
import sys
import zipfile
from contextlib import suppress
from copy import deepcopy

import numpy as np
import pytest
from hostile import (
    Touch,
    lengthen_the_support,
    node,
    nodes,
    point_a_booster_outside,
    point_a_tree_outside,
    rewrite_skops,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from skops import io as skops_io
from skops.io import get_untrusted_types

from bc_sam.classifiers.fitting import LatentClassifier
from bc_sam.classifiers.kinds import KINDS
from bc_sam.classifiers.skops_files import load_estimator, save_estimator, trusted_types
from bc_sam.errors import BCSamError, UntrustedFileError, WeightsError

kinds = pytest.mark.parametrize("name", KINDS)
same_folder = settings(max_examples=50)


@pytest.fixture(scope="module")
def files(fitted_classifiers, tmp_path_factory):
    """A saved classifier of each kind."""
    folder = tmp_path_factory.mktemp("classifiers")
    for name, classifier in fitted_classifiers.items():
        save_estimator(classifier.estimator, folder / f"{name}.skops")
    return {name: folder / f"{name}.skops" for name in fitted_classifiers}


def types(path):
    schema = json.loads(zipfile.ZipFile(path).read("schema.json"))
    return {f"{n['__loader__']}:{n['__module__']}.{n['__class__']}" for n in nodes(schema) if "__loader__" in n}


# Nodes of every kind that skops can build, or could be tricked into building, and that no classifier needs.
EMPTY = node("DictNode", "builtins", "dict", content={}, key_types=node("ListNode", "builtins", "list", content=[]))
FOREIGN = [
    node("ObjectNode", "subprocess", "Popen", content=EMPTY),
    node("ObjectNode", "sklearn.cluster._kmeans", "KMeans", content=EMPTY),  # skops trusts it
    node("FunctionNode", "numpy", "add"),  # skops trusts it
    node("TypeNode", "builtins", "map"),  # skops trusts it
    node("TypeNode", "os", "system"),
    node("PartialNode", "functools", "partial", content={}),
    node("MethodNode", "sklearn.pipeline", "Pipeline", content={"func": "fit", "obj": EMPTY}),
    node("OperatorFuncNode", "operator", "methodcaller", attrs=EMPTY),
    node("ConstructorFromReduceNode", "xgboost.core", "Booster", content=EMPTY),
    node("CachedNode", "builtins", "dict"),
    node("RandomGeneratorNode", "numpy.random._generator", "Generator", content={}),
    node("SparseMatrixNode", "scipy.sparse._csr", "csr_matrix", type="scipy", file="x.npz"),
    node("LossNode", "sklearn._loss._loss", "CyHalfBinomialLoss", content=EMPTY),
    node("NoSuchNode", "builtins", "dict"),
]


#: Types that only versions of the libraries write which are not installed here.
OF_OTHER_VERSIONS = {"ann": {"NdArrayNode:numpy.float32"}}


class TestAllowList:
    @kinds
    def test_it_matches_the_types_in_a_fitted_classifier(self, files, name):
        assert types(files[name]) | OF_OTHER_VERSIONS.get(name, set()) == set(KINDS[name].types)

    def test_it_covers_a_loss_in_single_precision(self, fitted_classifiers, tmp_path):
        estimator = deepcopy(fitted_classifiers["ann"].estimator)
        network = estimator[-1]
        network.loss_, network.loss_curve_ = (
            np.float32(network.loss_),
            [np.float32(loss) for loss in network.loss_curve_],
        )
        save_estimator(estimator, tmp_path / "ann.skops")
        assert "NdArrayNode:numpy.float32" in types(tmp_path / "ann.skops")
        assert type(load_estimator(tmp_path / "ann.skops", "ann")[-1].loss_) is np.float32

    @kinds
    @pytest.mark.parametrize("counts", [(1, 1), (1, 60), (40, 40), (3,) * 13])
    def test_it_is_sufficient_for_any_training_set(self, tmp_path, name, counts):
        labels = np.repeat(np.arange(len(counts)), counts)
        latents = np.random.default_rng(0).standard_normal((len(labels), 5)) + labels[:, None]
        fitted = LatentClassifier.fit(name, latents, labels, n_labels=13).estimator
        if name == "rf":
            fitted.estimators_ = fitted.estimators_[:3]  # compressing all of them takes a second
        save_estimator(fitted, tmp_path / "some.skops")
        loaded = load_estimator(tmp_path / "some.skops", name, n_features=5, n_classes=len(counts))
        assert np.array_equal(loaded.predict_proba(np.float32(latents)), fitted.predict_proba(np.float32(latents)))

    @kinds
    def test_it_covers_the_types_that_skops_does_not_trust(self, files, name):
        assert set(get_untrusted_types(file=files[name])) <= set(trusted_types(KINDS[name]))

    @kinds
    def test_plain_skops_loads_the_files_too(self, files, fitted_classifiers, labelled_latents, name):
        latents = np.float32(labelled_latents[0])
        loaded = skops_io.load(files[name], trusted=trusted_types(KINDS[name]))
        assert np.array_equal(loaded.predict_proba(latents), fitted_classifiers[name].estimator.predict_proba(latents))

    @pytest.mark.parametrize("name", ["xgboost", "logistic"])
    @pytest.mark.parametrize("foreign", FOREIGN, ids=lambda foreign: foreign["__loader__"])
    def test_any_other_type_anywhere_is_refused_by_name(self, files, tmp_path, name, foreign):
        def hide(members):
            members["schema.json"]["somewhere"] = [{"unused": foreign}]

        kind = rf"{foreign['__loader__']}:{foreign['__module__']}\.{foreign['__class__']}"
        with pytest.raises(UntrustedFileError, match=rf"{name}\.skops holds types .*{kind}"):
            load_estimator(rewrite_skops(files[name], tmp_path / f"{name}.skops", hide), name)


@pytest.mark.parametrize(
    ("kind", "read_as"),
    [("rf", "svm_rbf"), ("svm_rbf", "ann"), ("xgboost", "rf"), ("ann", "xgboost")],
)
def test_a_file_of_one_kind_is_refused_as_another(files, kind, read_as):
    with pytest.raises(UntrustedFileError, match=rf"{kind}\.skops holds types"):
        load_estimator(files[kind], read_as)


def test_a_kind_that_is_not_registered_is_refused(files):
    with pytest.raises(
        UntrustedFileError, match=r"rf\.skops is a classifier of unknown kind 'knn'.*Install a newer version"
    ):
        load_estimator(files["rf"], "knn")


@kinds
def test_a_foreign_type_is_refused_by_name_and_not_built(tmp_path, name):
    path = tmp_path / f"{name}.skops"
    skops_io.dump({"classifier": zipfile.ZipFile}, path)
    with pytest.raises(UntrustedFileError, match=rf"{name}\.skops .*Do not use this file.*zipfile\.ZipFile"):
        load_estimator(path, name)


@kinds
def test_a_renamed_pickle_is_refused_and_not_executed(tmp_path, name):
    witness = tmp_path / "it_ran"
    path = tmp_path / f"{name}.skops"
    path.write_bytes(pickle.dumps(Touch(witness)))
    with pytest.raises(WeightsError, match=rf"{name}\.skops is not a valid .*pickles are not read"):
        load_estimator(path, name)
    assert not witness.exists()


def test_a_pickled_array_is_refused_and_not_executed(files, tmp_path):
    witness = tmp_path / "it_ran"
    array = io.BytesIO()
    np.save(array, np.array([Touch(witness)], dtype=object), allow_pickle=True)
    path = tmp_path / "logistic.skops"
    with zipfile.ZipFile(files["logistic"]) as good, zipfile.ZipFile(path, "w") as bad:
        for member in good.namelist():
            bad.writestr(member, array.getvalue() if member.endswith(".npy") else good.read(member))
    with pytest.raises(WeightsError, match="damaged"):
        load_estimator(path, "logistic")
    assert not witness.exists()


def test_a_classifier_inside_something_else_is_refused(fitted_classifiers, tmp_path):
    skops_io.dump([fitted_classifiers["logistic"].estimator], tmp_path / "logistic.skops")
    with pytest.raises(WeightsError, match=r"logistic\.skops is not a valid .* classifier"):
        load_estimator(tmp_path / "logistic.skops", "logistic")


@kinds
@pytest.mark.parametrize("sizes", [{"n_features": 9}, {"n_classes": 6}])
def test_a_classifier_of_another_model_is_refused(files, name, sizes):
    with pytest.raises(WeightsError, match=rf"{name}\.skops is not a valid .* classifier"):
        load_estimator(files[name], name, **sizes)


def test_the_number_of_threads_is_not_read_from_the_file(files, tmp_path):
    def ask_for_many(members):
        schema = members["schema.json"]
        schema["content"]["content"]["n_jobs"].update(content="100000", __id__=1)

    path = rewrite_skops(files["rf"], tmp_path / "rf.skops", ask_for_many)
    assert load_estimator(path, "rf").n_jobs is None


@pytest.mark.parametrize(
    ("name", "spoil"),
    [("rf", point_a_tree_outside), ("svm_rbf", lengthen_the_support), ("xgboost", point_a_booster_outside)],
)
def test_files_that_crash_the_libraries_are_refused(files, tmp_path, name, spoil):
    """Runs in another process, which the unprotected libraries crash by reading out of bounds."""
    path = rewrite_skops(files[name], tmp_path / f"{name}.skops", spoil)
    code = f"""if True:
        import sys, numpy as np, skops.io
        from pathlib import Path
        from bc_sam.errors import WeightsError
        from bc_sam.classifiers.kinds import KINDS
        from bc_sam.classifiers.skops_files import load_estimator, trusted_types
        path, name = Path({str(path)!r}), {name!r}
        try:
            load_estimator(path, name)
        except WeightsError:
            print("refused", flush=True)
        skops.io.load(path, trusted=trusted_types(KINDS[name])).predict_proba(np.zeros((1, 8), np.float32))
        print("answered")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["refused"]
    assert done.returncode != 0


@same_folder
@given(content=st.binary())
def test_random_bytes_are_refused(tmp_path, content):
    path = tmp_path / "rf.skops"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"rf\.skops is not a valid .* classifier"):
        load_estimator(path, "rf")


@same_folder
@given(schema=st.sampled_from([b"", b"[]", b"{}", b"3", b"null", b'{"protocol": 3}', b"\xff"]))
def test_a_zip_with_an_invalid_schema_is_refused(tmp_path, schema):
    path = tmp_path / "rf.skops"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", schema)
    with pytest.raises(WeightsError, match=r"rf\.skops is not a valid .* classifier"):
        load_estimator(path, "rf")


@same_folder
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(files, tmp_path, share):
    content = files["svm_rbf"].read_bytes()
    path = tmp_path / "svm_rbf.skops"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match="damaged"):
        load_estimator(path, "svm_rbf")


@same_folder
@given(position=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_changed_byte_raises_no_error_but_the_packages_own(files, tmp_path, position, bits):
    content = bytearray(files["ann"].read_bytes())
    content[int(position * len(content))] ^= bits
    path = tmp_path / "ann.skops"
    path.write_bytes(content)
    with suppress(BCSamError):
        load_estimator(path, "ann")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"rf\.skops is missing"):
        load_estimator(tmp_path / "rf.skops", "rf")


def test_a_forest_is_saved_without_what_only_its_training_tells(fitted_classifiers, labelled_latents, tmp_path):
    forest, (latents, _) = fitted_classifiers["rf"].estimator, labelled_latents
    impurity = forest.estimators_[0].tree_.impurity.copy()
    save_estimator(forest, tmp_path / "rf.skops")
    loaded = load_estimator(tmp_path / "rf.skops", "rf")
    np.testing.assert_array_equal(loaded.predict_proba(latents), forest.predict_proba(latents))
    assert not loaded.estimators_[0].tree_.impurity.any()
    np.testing.assert_array_equal(forest.estimators_[0].tree_.impurity, impurity)
