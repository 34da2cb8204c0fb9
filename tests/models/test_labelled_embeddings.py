"""Embeddings of labelled cells come from data sets and from the arrays of the original."""

import numpy as np
import pytest
from small_model import LATENT_DIM, small_model

from bc_sam import load_rendered
from bc_sam.errors import BCSamError, DataError
from bc_sam.models.labelled_embeddings import LabelledEmbeddings


def write_arrays(folder, **changes):
    arrays = {"X": np.zeros((4, 50), np.float32), "y": np.array([0, 1, 1, 12]), "dataset": np.array([0, 0, 1, 1])}
    for name, values in (arrays | changes).items():
        np.save(folder / f"{name}.npy", values, allow_pickle=True)
    return folder


def test_the_arrays_of_the_original_keep_its_classes_and_laboratories(tmp_path):
    cells = LabelledEmbeddings.of_original(write_arrays(tmp_path))
    assert cells.embeddings.shape == (4, 50)
    assert cells.labels.tolist() == [0, 1, 1, 12]
    assert cells.laboratories.tolist() == ["matek19", "matek19", "acevedo20", "acevedo20"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.array([0, 1])}, r"do not belong together: X\.npy has the shape \(4, 50\), y\.npy \(2,\)"),
        ({"X": np.zeros((4, 50, 1))}, "do not belong together"),
        ({"y": np.array([0, 1, 1, 13])}, r"y\.npy must hold integers from 0 to 12"),
        ({"y": np.array([0.0, 1, 1, 2])}, r"y\.npy must hold integers"),
        ({"dataset": np.array([0, 0, 1, 2])}, r"dataset\.npy must hold integers from 0 to 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        LabelledEmbeddings.of_original(write_arrays(tmp_path, **changes))


def test_arrays_are_not_unpickled(tmp_path):
    with pytest.raises(BCSamError, match=r"y\.npy is missing or damaged"):
        LabelledEmbeddings.of_original(write_arrays(tmp_path, y=np.array([{}, 1, 1, 1], object)))


def test_a_missing_array_is_named(tmp_path):
    with pytest.raises(BCSamError, match=r"X\.npy is missing"):
        LabelledEmbeddings.of_original(tmp_path)


def test_cells_of_several_data_sets_are_joined():
    model = small_model()
    datasets = [load_rendered(laboratory, cells_per_class=1).select(range(3)) for laboratory in ("munich", "tehran")]
    parts = [LabelledEmbeddings.of_dataset(model, dataset) for dataset in datasets]
    cells = LabelledEmbeddings.joined(parts)
    assert cells.embeddings.shape == (6, LATENT_DIM)
    np.testing.assert_allclose(cells.embeddings[:3], model.embed(datasets[0]["image"]), atol=1e-5)
    assert cells.labels.tolist() == [label for dataset in datasets for label in dataset["label"]]
    assert cells.laboratories.tolist() == [dataset[0]["domain"] for dataset in datasets for _ in range(3)]
