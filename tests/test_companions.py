import numpy as np
import pytest
from small_model import LATENT_DIM, small_model

from bc_sam.companions import embed_companions
from bc_sam.errors import DataError
from bc_sam.labels import LABELS


@pytest.fixture(scope="module")
def model():
    return small_model()


def test_there_are_cells_of_every_class_in_the_models_own_order(model, tmp_path):
    found = embed_companions(model, 2, 0, tmp_path)
    assert found.labels.tolist() == [label for label in range(len(LABELS)) for _ in range(2)]
    assert found.latents.shape == (2 * len(LABELS), LATENT_DIM)
    turned = embed_companions(small_model(labels=LABELS[::-1]), 2, 0, tmp_path / "turned")
    order = np.argsort(turned.labels, kind="stable").reshape(len(LABELS), 2)[::-1].ravel()
    np.testing.assert_allclose(turned.latents[order], found.latents, atol=1e-6)


def test_the_seed_decides_them(model, tmp_path):
    first, again, other = (embed_companions(model, 1, seed, tmp_path / str(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.latents, again.latents)
    assert not np.allclose(first.latents, other.latents)


def test_each_is_of_a_laboratory_of_its_own(model, tmp_path):
    found = embed_companions(model, 6, 0, tmp_path)
    assert (found.latents[found.labels == 0].std(axis=0) > 0).any()


def test_other_kinds_of_cells_cannot_be_rendered(tmp_path):
    with pytest.raises(DataError, match="proerythroblast"):
        embed_companions(small_model(labels=("proerythroblast", *LABELS[1:])), 1, 0, tmp_path)
