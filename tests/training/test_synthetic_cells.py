import numpy as np
import pytest
from small_model import IMAGE_SIZE, LATENT_DIM, small_model

from bc_sam import load_rendered
from bc_sam.config.labels import LABELS
from bc_sam.data.store import CellStore, store_cells
from bc_sam.errors import DataError
from bc_sam.training.synthetic_cells import embed_synthetic_cells


@pytest.fixture(scope="module")
def model():
    return small_model()


def test_there_are_cells_of_every_class_in_the_models_order(model, tmp_path):
    found = embed_synthetic_cells(model, 2, 0, tmp_path)
    assert found.labels.tolist() == [label for label in range(len(LABELS)) for _ in range(2)]
    assert found.latents.shape == (2 * len(LABELS), LATENT_DIM)
    turned = embed_synthetic_cells(small_model(labels=LABELS[::-1]), 2, 0, tmp_path / "turned")
    order = np.argsort(turned.labels, kind="stable").reshape(len(LABELS), 2)[::-1].ravel()
    np.testing.assert_allclose(turned.latents[order], found.latents, atol=1e-6)


def test_the_seed_decides_them(model, tmp_path):
    first, again, other = (embed_synthetic_cells(model, 1, seed, tmp_path / str(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.latents, again.latents)
    assert not np.allclose(first.latents, other.latents)


def test_they_vary_more_than_cells_of_one_laboratory(model, tmp_path):
    def glass(cells):
        """Variation between images of their brightest tenth."""
        return np.quantile(cells.pixels[:], 0.9, axis=(1, 2)).std(axis=0).max()

    embed_synthetic_cells(model, 2, 0, tmp_path / "synthetic")
    one = load_rendered("munich", cells_per_class=2)
    assert glass(CellStore.open(tmp_path / "synthetic")) > 3 * glass(store_cells([one], tmp_path / "one", IMAGE_SIZE))


def test_other_kinds_of_cells_cannot_be_rendered(tmp_path):
    with pytest.raises(DataError, match="proerythroblast"):
        embed_synthetic_cells(small_model(labels=("proerythroblast", *LABELS[1:])), 1, 0, tmp_path)
