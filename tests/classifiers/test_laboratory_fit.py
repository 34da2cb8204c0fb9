"""A set of cells is judged as a whole: whether it may come from a laboratory that the model knows."""

import numpy as np
import pytest

from bc_sam.classifiers.laboratory_fit import FEWEST_CELLS, LaboratoryCheck, _shrunk_covariance
from bc_sam.classifiers.reference_latents import ReferenceLatents

DIMENSIONS = 8
CLASSES = 6 * np.random.default_rng(0).normal(size=(4, DIMENSIONS))  # class means
SOUTH = np.full(DIMENSIONS, 1.5)  # what the second laboratory's stain adds to every cell


def cells(kinds, shift=0.0, seed=1):
    random = np.random.default_rng(seed)
    return CLASSES[kinds] + shift + random.normal(size=(len(kinds), DIMENSIONS))


@pytest.fixture(scope="module")
def check():
    kinds = np.tile(np.repeat(np.arange(4), 50), 2)
    domains = np.repeat([0, 1], 200)
    latents = cells(kinds, seed=0) + SOUTH * domains[:, None]
    return LaboratoryCheck(ReferenceLatents(latents.astype(np.float32), kinds, domains), ("north", "south"))


MIXTURES = {"all kinds": [0.25] * 4, "normal blood": [0.7, 0.25, 0.05, 0], "one kind": [0, 0, 1, 0]}


def draw(share, n, seed):
    return np.random.default_rng(seed).choice(4, n, p=share)


@pytest.mark.parametrize("share", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize(("name", "stain"), [("north", 0), ("south", SOUTH)])
def test_new_cells_of_a_known_laboratory_are_known_whatever_their_kinds(check, share, name, stain):
    fits = [check.judge(cells(draw(share, 50, seed), stain, seed)) for seed in range(30)]
    assert sum(not fit.known for fit in fits) <= 1
    assert {fit.nearest for fit in fits} == {name}


@pytest.mark.parametrize("share", MIXTURES.values(), ids=MIXTURES)
def test_another_stain_is_unknown_whatever_the_kinds(check, share):
    other = np.tile([2.0, -2.0], DIMENSIONS // 2)
    fits = [check.judge(cells(draw(share, 50, seed), other, seed)) for seed in range(15)]
    assert not any(fit.known for fit in fits)
    assert min(fit.shift for fit in fits) > 2


def test_many_odd_cells_make_a_laboratory_unknown(check):
    few, many = np.r_[np.full(30, 0.5), np.full(20, 0.99)], np.r_[np.full(20, 0.5), np.full(30, 0.99)]
    own = cells(draw(MIXTURES["all kinds"], 50, 3))
    assert check.judge(own, few).known
    assert not check.judge(own, many).known
    assert check.judge(own, many).odd_share == 0.6


def test_too_few_cells_tell_nothing(check):
    fit = check.judge(cells(np.zeros(FEWEST_CELLS - 1, int), 9.0))
    assert (fit.known, fit.n_cells) == (None, FEWEST_CELLS - 1)
    assert check.judge(np.empty((0, DIMENSIONS))).known is None


def test_without_classes_of_several_cells_nothing_can_be_told():
    bare = ReferenceLatents(np.zeros((3, 2), np.float32), np.arange(3), np.zeros(3, np.int64))
    assert LaboratoryCheck(bare, ("north",)).judge(np.zeros((50, 2))).known is None


@pytest.mark.parametrize("n", [20, 400])
def test_the_covariance_is_the_one_of_scikit_learn(n):
    from sklearn.covariance import ledoit_wolf

    rows = np.random.default_rng(0).standard_normal((n, 30)) * np.linspace(0.1, 3, 30)
    np.testing.assert_allclose(_shrunk_covariance(rows), ledoit_wolf(rows, assume_centered=True)[0], atol=1e-12)
