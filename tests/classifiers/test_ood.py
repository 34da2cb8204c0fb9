"""What is far from all stored cells is new; a stored cell is not; the nearest come first."""

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


def test_cells_of_the_same_kind_are_spread_evenly_over_the_scale():
    scores = OodScore(reference()).score(reference(seed=1).latents)
    assert 0.35 < np.median(scores) < 0.75
    assert scores.min() >= 0
    assert scores.max() <= 1


@given(st.integers(0, 4), st.sampled_from([-1, 1]))
@settings(max_examples=20)
def test_ten_deviations_away_in_any_number_is_new_whatever_its_unit(number, sign):
    known = reference()
    strange = known.latents[0].copy()
    strange[number] += sign * 10 * known.latents[:, number].std()
    assert OodScore(known).score(strange[None])[0] > 0.98


def test_farther_is_never_less_new():
    known = reference()
    steps = known.latents.mean(axis=0) + np.linspace(0, 8, 9)[:, None] * known.latents.std(axis=0)
    assert (np.diff(OodScore(known).score(steps)) >= 0).all()


def test_a_stored_cell_is_nearest_to_itself():
    known = reference()
    first, second, *_ = OodScore(known).nearest(known.latents[7])
    assert (first.row, first.label, first.domain) == (7, known.labels[7], known.domains[7])
    assert first.distance == pytest.approx(0, abs=1e-4)
    assert second.distance > 0.01


def test_a_similar_cell_has_its_picture_where_the_model_keeps_one():
    known = reference()
    assert OodScore(known).nearest(known.latents[7])[0].thumbnail == b""
    pictures = tuple(draw_thumbnail(np.full((64, 64, 3), row, np.uint8)) for row in range(200))
    (first, *_) = OodScore(replace(known, thumbnails=pictures)).nearest(known.latents[7])
    assert first.thumbnail == pictures[7]


def test_a_handful_of_cells_is_too_few():
    with pytest.raises(DataError, match="too few"):
        OodScore(reference(n=5))
    assert len(OodScore(reference(n=6)).nearest(np.zeros(6), count=50)) == 6
