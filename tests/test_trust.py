"""A classifier file may come from anybody: whatever it holds, loading it runs nothing of it."""

import io
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skops import io as skops_io
from skops.io import get_untrusted_types

from bc_sam.classifiers import CLASSIFIERS
from bc_sam.errors import BCSamError, UntrustedFileError, WeightsError
from bc_sam.trust import TRUSTED_TYPES, load_estimator, save_estimator

kinds = pytest.mark.parametrize("name", CLASSIFIERS)
same_folder = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Touch:
    """An object whose unpickling would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def files(fitted_classifiers, tmp_path_factory):
    """A saved classifier of each kind."""
    folder = tmp_path_factory.mktemp("classifiers")
    for name, classifier in fitted_classifiers.items():
        save_estimator(classifier.estimator, folder / f"{name}.skops")
    return {name: folder / f"{name}.skops" for name in fitted_classifiers}


@kinds
def test_the_allow_list_is_exactly_what_a_fitted_classifier_holds(files, name):
    assert set(get_untrusted_types(file=files[name])) == set(TRUSTED_TYPES[name])


def test_every_classifier_has_an_allow_list():
    assert TRUSTED_TYPES.keys() == CLASSIFIERS.keys()


@pytest.mark.parametrize(
    ("kind", "read_as"),
    [("rf", "svm_rbf"), ("svm_rbf", "ann"), ("xgboost", "rf"), ("ann", "xgboost"), ("rf", "a new kind")],
)
def test_the_allow_list_of_one_kind_does_not_serve_another(files, kind, read_as):
    with pytest.raises(UntrustedFileError, match=TRUSTED_TYPES[kind][0]):
        load_estimator(files[kind], read_as)


@kinds
def test_a_foreign_type_is_refused_by_name_and_not_built(tmp_path, name):
    path = tmp_path / f"{name}.skops"
    skops_io.dump({"classifier": zipfile.ZipFile}, path)
    with pytest.raises(UntrustedFileError, match=rf"{name}\.skops .*Do not use this file.*zipfile\.ZipFile"):
        load_estimator(path, name)


@kinds
def test_a_renamed_pickle_is_refused_and_not_run(tmp_path, name):
    witness = tmp_path / "it_ran"
    path = tmp_path / f"{name}.skops"
    path.write_bytes(pickle.dumps(Touch(witness)))
    with pytest.raises(WeightsError, match=rf"{name}\.skops holds no sound .*pickles are not read"):
        load_estimator(path, name)
    assert not witness.exists()


def test_a_pickle_in_the_place_of_an_array_is_refused_and_not_run(files, tmp_path):
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


@pytest.mark.parametrize("nodes", ["left_child", "right_child", "feature"])
@pytest.mark.parametrize("value", [10**6, -5])
def test_a_forest_that_points_outside_its_arrays_is_refused(files, tmp_path, nodes, value):
    forest = load_estimator(files["rf"], "rf")
    tree = forest.estimators_[-1].tree_
    state = tree.__getstate__()
    state["nodes"][nodes][0] = value
    tree.__setstate__(state)
    save_estimator(forest, tmp_path / "rf.skops")
    with pytest.raises(WeightsError, match=r"rf\.skops holds no sound .* a tree leads out"):
        load_estimator(tmp_path / "rf.skops", "rf")


def test_a_tree_that_leads_in_a_circle_is_refused(files, tmp_path):
    forest = load_estimator(files["rf"], "rf")
    tree = forest.estimators_[0].tree_
    state = tree.__getstate__()
    state["nodes"]["left_child"][0] = 0
    tree.__setstate__(state)
    save_estimator(forest, tmp_path / "rf.skops")
    with pytest.raises(WeightsError, match="no sound classifier"):
        load_estimator(tmp_path / "rf.skops", "rf")


def test_a_forest_inside_something_else_is_refused(files, tmp_path):
    skops_io.dump([load_estimator(files["rf"], "rf")], tmp_path / "rf.skops")
    with pytest.raises(WeightsError, match="no sound classifier"):
        load_estimator(tmp_path / "rf.skops", "rf")


@same_folder
@given(content=st.binary())
def test_garbage_is_no_skops_file(tmp_path, content):
    path = tmp_path / "rf.skops"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"rf\.skops holds no sound classifier"):
        load_estimator(path, "rf")


@same_folder
@given(schema=st.sampled_from([b"", b"[]", b"{}", b"3", b"null", b'{"protocol": 3}', b"\xff"]))
def test_a_zip_with_a_strange_schema_is_no_skops_file(tmp_path, schema):
    path = tmp_path / "rf.skops"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", schema)
    with pytest.raises(WeightsError, match=r"rf\.skops holds no sound classifier"):
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
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_changed_byte_never_leads_to_another_error_than_the_packages(files, tmp_path, place, bits):
    content = bytearray(files["ann"].read_bytes())
    content[int(place * len(content))] ^= bits
    path = tmp_path / "ann.skops"
    path.write_bytes(content)
    with suppress(BCSamError):
        load_estimator(path, "ann")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"rf\.skops is missing"):
        load_estimator(tmp_path / "rf.skops", "rf")
