import numpy as np
import pytest
import torch
from small_model import IMAGE_SIZE, LATENT_DIM, small_model

from bc_sam.companions import Companions, embed_companions
from bc_sam.config import ClassifierArguments
from bc_sam.data import load_rendered
from bc_sam.data.store import store_cells
from bc_sam.errors import DataError
from bc_sam.features import encode_pixels
from bc_sam.labels import LABELS


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Six cells of three classes; the last one has no label."""
    drawn = load_rendered("munich", cells_per_class=2, labels=LABELS[:3])
    drawn = drawn.map(lambda cell, row: {**cell, "label": None if row == 5 else cell["label"]}, with_indices=True)
    return store_cells([drawn], tmp_path_factory.mktemp("cells"), IMAGE_SIZE)


@pytest.fixture(scope="module")
def model():
    return small_model()


def companions(model, cells, folder, rows=(0, 2, 4), seed=7, **how_many):
    return embed_companions(model, cells, np.array(rows), ClassifierArguments(**how_many), seed, folder)


def test_none_are_made_unless_asked_for(model, cells, tmp_path):
    assert companions(model, cells, tmp_path) is None


def test_each_view_has_the_label_of_its_cell_and_other_latents(model, cells, tmp_path):
    found = companions(model, cells, tmp_path, views=2)
    assert found.latents.shape == (6, LATENT_DIM)
    assert found.cells.tolist() == [0, 2, 4, 0, 2, 4]
    assert np.array_equal(found.labels, cells.labels[found.cells])
    with torch.inference_mode():
        own = model.autoencoder.encode(encode_pixels(model.sam, model.config, cells.pixels[[0, 2, 4]])).numpy()
    for view in (found.latents[:3], found.latents[3:]):
        assert (np.abs(view - own).max(axis=1) > 1e-4).all()
    assert not np.allclose(found.latents[:3], found.latents[3:])


def test_a_view_is_a_matter_of_the_seed_and_the_cell_alone(model, cells, tmp_path):
    three, one = (companions(model, cells, tmp_path, rows, views=1) for rows in ((0, 2, 4), (2,)))
    np.testing.assert_allclose(three.latents[1], one.latents[0], atol=1e-5)
    other = companions(model, cells, tmp_path, (2,), seed=8, views=1)
    assert not np.allclose(other.latents, one.latents)


def test_a_cell_without_a_label_teaches_nothing(model, cells, tmp_path):
    assert companions(model, cells, tmp_path, (4, 5), views=1).cells.tolist() == [4]


def test_rendered_cells_are_of_every_class(model, cells, tmp_path):
    found = companions(model, cells, tmp_path, rendered=2)
    assert found.labels.tolist() == [label for label in range(len(LABELS)) for _ in range(2)]
    assert (found.cells == -1).all()
    assert np.isfinite(found.latents).all()


def test_other_kinds_of_cells_cannot_be_rendered(cells, tmp_path):
    strange = small_model(labels=("proerythroblast", *LABELS[1:]))
    with pytest.raises(DataError, match="proerythroblast"):
        companions(strange, cells, tmp_path, rendered=1)


@pytest.mark.parametrize(("rendered", "expected"), [(False, [5, 7]), (True, [5, 7, 8])])
def test_the_views_of_some_cells_are_found(rendered, expected):
    all_of_them = Companions(np.zeros((5, 2)), np.array([4, 5, 6, 7, 8]), np.array([0, 1, 2, 1, -1]))
    assert all_of_them.beside(np.array([1, 9]), rendered=rendered)[1].tolist() == expected
