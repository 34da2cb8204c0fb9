"""Cells far from all reference cells get high scores; neighbours are returned nearest first."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bc_sam.classifiers.ood import OodScore
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.classifiers.thumbnails import draw_thumbnail
from bc_sam.errors import DataError


def reference(n=200, d=6, seed=0):
    random = np.random.default_rng(seed)
    scales = np.array([1, 100, 0.01, 1, 1, 0], dtype=np.float32)[:d]
    latents = (random.standard_normal((n, d)) * scales).astype(np.float32)
    return ReferenceLatents(latents, np.arange(n) % 3 - 1, np.arange(n) % 2)


def test_in_distribution_scores_are_spread_over_the_unit_interval():
    scores = OodScore(reference()).score(reference(seed=1).latents)
    assert 0.35 < np.median(scores) < 0.75
    assert scores.min() >= 0
    assert scores.max() <= 1


@given(st.integers(0, 4), st.sampled_from([-1, 1]))
@settings(max_examples=20)
def test_ten_deviations_in_any_dimension_are_out_of_distribution_at_any_scale(dimension, sign):
    cells = reference()
    outlier = cells.latents[0].copy()
    outlier[dimension] += sign * 10 * cells.latents[:, dimension].std()
    assert OodScore(cells).score(outlier[None])[0] > 0.98


def test_the_score_is_monotonic_in_the_distance():
    cells = reference()
    steps = cells.latents.mean(axis=0) + np.linspace(0, 8, 9)[:, None] * cells.latents.std(axis=0)
    assert (np.diff(OodScore(cells).score(steps)) >= 0).all()


def test_a_reference_cell_is_its_own_nearest_neighbour():
    cells = reference()
    first, second, *_ = OodScore(cells).nearest(cells.latents[7])
    assert (first.row, first.label, first.domain) == (7, cells.labels[7], cells.domains[7])
    assert first.distance == pytest.approx(0, abs=1e-4)
    assert second.distance > 0.01


def test_a_neighbour_has_its_thumbnail_if_the_model_stores_one():
    cells = reference()
    assert OodScore(cells).nearest(cells.latents[7])[0].thumbnail == b""
    thumbnails = tuple(draw_thumbnail(np.full((64, 64, 3), row, np.uint8)) for row in range(200))
    (first, *_) = OodScore(replace(cells, thumbnails=thumbnails)).nearest(cells.latents[7])
    assert first.thumbnail == thumbnails[7]


def test_too_few_reference_cells_are_an_error():
    with pytest.raises(DataError, match="too few"):
        OodScore(reference(n=5))
    assert len(OodScore(reference(n=6)).nearest(np.zeros(6), count=50)) == 6
