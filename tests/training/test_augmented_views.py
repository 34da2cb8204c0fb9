"""Augmented views of the training cells, drawn evenly over laboratories and classes and stored once."""

import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from bc_sam import load_rendered
from bc_sam.config.arguments import TrainingArguments, ViewArguments
from bc_sam.data.store import store_cells
from bc_sam.training import augmented_views
from bc_sam.training.augmented_views import store_views
from bc_sam.training.steps.augmentation import STRONG_DRAWS, strong_views, view_draws

SIZE = 32
TRAINING = TrainingArguments(views=60, seed=3)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Nine cells of two classes of north, and three of one class of south."""
    north = load_rendered("munich", cells_per_class=6, labels=("basophil", "monocyte")).select([*range(6), 6, 7, 8])
    south = load_rendered("barcelona", cells_per_class=3, labels=("basophil",))
    return store_cells([north, south], tmp_path_factory.mktemp("cells"), SIZE)


@pytest.fixture
def rows(cells):
    return np.arange(len(cells))


@pytest.fixture
def computed(monkeypatch):
    """Records the number of views that are computed."""
    numbers = []

    def record(images, *rest):
        numbers.append(len(images))
        return strong_views(images, *rest)

    monkeypatch.setattr(augmented_views, "strong_views", record)
    return numbers


def test_the_classes_of_each_laboratory_have_equally_many(cells, rows, tmp_path):
    views = store_views(cells, rows, replace(TRAINING, views=120), tmp_path)
    strata = Counter(zip(cells.domains[views.rows].tolist(), cells.labels[views.rows].tolist(), strict=True))
    assert len(strata) == 3
    assert all(count == pytest.approx(40, abs=4) for count in strata.values())
    assert set(views.rows) == set(rows)


def test_there_are_as_many_as_asked_for_even_of_few_cells(cells, tmp_path):
    for n in (1, 7, 50):
        views = store_views(cells, np.array([4]), replace(TRAINING, views=n), tmp_path / str(n))
        assert views.rows.tolist() == [4] * n
        assert len(views.cells) == n


def test_only_labelled_cells_among_the_given_ones_are_shown(cells, tmp_path):
    partly = copy.copy(cells)
    partly.labels = cells.labels.copy()
    partly.labels[[0, 9]] = -1
    views = store_views(partly, np.array([0, 1, 2, 9, 10]), TRAINING, tmp_path)
    assert set(views.rows) == {1, 2, 10}
    assert (views.cells.labels >= 0).all()


def test_a_view_is_stored_like_its_cell(cells, rows, tmp_path):
    views = store_views(cells, rows, TRAINING, tmp_path)
    stored = views.cells
    assert stored.table.domain_names == cells.table.domain_names
    assert np.array_equal(stored.labels, cells.labels[views.rows])
    assert np.array_equal(stored.domains, cells.domains[views.rows])
    assert stored.table.files == [cells.table.files[row] for row in views.rows]
    assert not stored.has_mask.any()
    assert stored.image_size == SIZE
    assert len(set(stored.table.digests)) == len(stored)  # repeated views of a cell differ


def test_the_pixels_are_strong_views_at_the_given_strength(cells, rows, tmp_path):
    training = replace(TRAINING, views=5, view=ViewArguments(stain=0.2, tight_crop_prob=1.0))
    views = store_views(cells, rows, training, tmp_path)
    images = torch.tensor(cells.pixels[views.rows]).permute(0, 3, 1, 2).float()
    draws = view_draws(training.seed, 0, range(5), STRONG_DRAWS)
    expected, _ = strong_views(images, images[:, 0], draws, SIZE, training.view)
    assert np.array_equal(views.cells.pixels[:], expected.round().byte().permute(0, 2, 3, 1))


def test_they_do_not_depend_on_the_block_size(cells, rows, tmp_path, monkeypatch):
    whole = store_views(cells, rows, TRAINING, tmp_path / "whole")
    monkeypatch.setattr(augmented_views, "_BLOCK", 7)
    blocks = store_views(cells, rows, TRAINING, tmp_path / "blocks")
    assert np.array_equal(whole.cells.pixels[:], blocks.cells.pixels[:])


class TestReopening:
    def test_they_are_computed_once(self, cells, rows, tmp_path, computed):
        first = store_views(cells, rows, TRAINING, tmp_path)
        assert sum(computed) == 60
        again = store_views(cells, rows, TRAINING, tmp_path)
        assert sum(computed) == 60
        assert again.cells.table == first.cells.table
        assert np.array_equal(again.rows, first.rows)

    @pytest.mark.parametrize("change", [{"seed": 4}, {"views": 61}, {"view": ViewArguments(stain=0.1)}])
    def test_other_settings_compute_them_anew(self, cells, rows, tmp_path, computed, change):
        first = store_views(cells, rows, TRAINING, tmp_path).cells.table.key
        other = store_views(cells, rows, replace(TRAINING, **change), tmp_path)
        assert sum(computed) == 60 + len(other.rows)
        assert other.cells.table.key != first

    def test_other_cells_compute_them_anew(self, cells, rows, tmp_path, computed):
        store_views(cells, rows, TRAINING, tmp_path)
        assert set(store_views(cells, rows[:6], TRAINING, tmp_path).rows) == set(rows[:6])
        assert sum(computed) == 120

    def test_an_interrupted_store_is_not_reused(self, cells, rows, tmp_path, monkeypatch):
        first = store_views(cells, rows, TRAINING, tmp_path)

        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(augmented_views, "_table", interrupt)  # after other pixels were written
            with pytest.raises(KeyboardInterrupt):
                store_views(cells, rows, replace(TRAINING, seed=4), tmp_path)
        again = store_views(cells, rows, TRAINING, tmp_path)
        assert again.cells.table == first.cells.table
        images = torch.tensor(cells.pixels[again.rows[:1]]).permute(0, 3, 1, 2).float()
        draws = view_draws(TRAINING.seed, 0, [0], STRONG_DRAWS)
        expected, _ = strong_views(images, images[:, 0], draws, SIZE, TRAINING.view)
        assert np.array_equal(again.cells.pixels[:1], expected.round().byte().permute(0, 2, 3, 1))

    def test_the_seed_changes_the_views(self, cells, rows, tmp_path):
        one, other = (store_views(cells, rows, replace(TRAINING, seed=seed), tmp_path / str(seed)) for seed in (1, 2))
        assert not np.array_equal(one.rows, other.rows)
        assert not set(one.cells.table.digests) & set(other.cells.table.digests)
