"""A tile that is kept is restored as it was; of other pixels, settings or searches it is another one."""

from dataclasses import replace

import numpy as np
import pytest

from bc_sam.models.abstention import Decision, Reason
from bc_sam.models.fields.tile_finder import TileCells
from bc_sam.models.fields.tile_store import TileStore
from bc_sam.models.found_cells import FoundCell
from bc_sam.models.prediction import Prediction

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def cells():
    rng = np.random.default_rng(1)
    decision = Decision(1, (Reason("Its image is blurred.", True, "blurred", True),))
    shares, latent = rng.dirichlet(np.ones(3)).astype(np.float32), rng.normal(size=50).astype(np.float32)
    named = Prediction.of(None, decision, shares, ("a", "b", "c"), latent=latent, ood=0.1 + 0.2)
    first = FoundCell((3, 4, 14, 17), rng.random((13, 11)) > 0.5, 1 / 3, True, named)
    return TileCells((first, replace(first, prediction=None)), ((1, 2, 8, 9),), ())


@pytest.fixture
def store(tmp_path):
    return TileStore(tmp_path / "tiles", {"weights": "0"})


def test_cells_are_restored_exactly(store, cells):
    path = store.path_of(PIXELS, "search")
    assert store.load(path) is None
    store.save(cells, path)
    restored = store.load(path)
    assert (restored.red_cells, restored.platelets) == (cells.red_cells, cells.platelets)
    for one, other in zip(restored.white_cells, cells.white_cells, strict=True):
        assert np.array_equal(one.mask, other.mask)
        assert (one.box, one.score, one.cut_off) == (other.box, other.score, other.cut_off)
        assert one.prediction == other.prediction
    assert restored.white_cells[0].prediction.reasons == cells.white_cells[0].prediction.reasons
    assert restored.white_cells[0].prediction.probabilities.dtype == np.float32


def test_what_cells_depend_on_changes_their_place(store, tmp_path):
    brighter = PIXELS.copy()
    brighter[5, 5] += 1
    paths = {
        store.path_of(PIXELS, "search"),
        store.path_of(brighter, "search"),
        store.path_of(PIXELS.reshape(30, 20, 3), "search"),
        store.path_of(PIXELS, "another search"),
        TileStore(tmp_path / "tiles", {"weights": "1"}).path_of(PIXELS, "search"),
    }
    assert len(paths) == 5


@pytest.mark.parametrize("content", ["", "[]", '{"white_cells": [{}]}'])
def test_a_damaged_tile_is_searched_again(store, cells, caplog, content):
    path = store.path_of(PIXELS, "search")
    store.save(cells, path)
    path.write_text(content)
    assert store.load(path) is None
    assert "searched again" in caplog.text
