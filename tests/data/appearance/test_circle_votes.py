"""Pooling votes only where they may suffice finds the circles that pooling them everywhere finds, to the last bit."""

import numpy as np
import pytest
from scipy import ndimage

from bc_sam.data.appearance.circle_votes import CircleVotes, Edges

RADII = np.geomspace(5, 46, 9)
MARGIN = 6


def edges_of(seed, shape, n=900):
    """Returns edges of a few circles, also at the border, and as many that belong to none."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 1, (5, 2)) * shape
    radii, angles = rng.choice(RADII, 5), rng.uniform(0, 2 * np.pi, (5, n // 10))
    outwards = np.stack([np.sin(angles), np.cos(angles)]).reshape(2, -1)
    places = np.repeat(centres, n // 10, axis=0).T + np.repeat(radii, n // 10) * outwards
    others = rng.uniform(0, 2 * np.pi, n // 2)
    places = np.concatenate([places, rng.uniform(0, 1, (2, n // 2)) * np.reshape(shape, (2, 1))], axis=1)
    directions = np.concatenate([-outwards, np.stack([np.sin(others), np.cos(others)])], axis=1)
    inside = ((places >= 0) & (places < np.reshape(shape, (2, 1)))).all(axis=0)
    return Edges(places[:, inside].astype(np.intp), directions[:, inside].astype(np.float32))


def pooled_everywhere(edges, shape):
    height, width = (side + 2 * MARGIN for side in shape)
    support = np.empty((len(RADII), height, width), np.float32)
    for index, radius in enumerate(RADII):
        votes = np.zeros((height, width), np.float32)
        rows, columns = np.rint(edges.places + radius * edges.directions).astype(int) + MARGIN
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        np.add.at(votes, (rows[inside], columns[inside]), 1)
        blur = max(0.16 * radius, 0.8)
        support[index] = ndimage.gaussian_filter(votes, blur, truncate=2.5) * (blur**2 / radius)
    return support


# Sides that are and that are not multiples of the cells of the bound, and an image narrower than the Gaussian.
@pytest.mark.parametrize("shape", [(108, 108), (101, 131), (20, 97)])
@pytest.mark.parametrize("least", [0.42, 0.15, 0.02])
def test_no_circle_is_missed(shape, least):
    edges = edges_of(sum(shape), shape)
    support = pooled_everywhere(edges, shape)
    excluded = np.zeros(support.shape[1:], bool)
    excluded[:, : shape[1] // 3] = True
    found = CircleVotes(edges, shape, MARGIN, RADII).circles(least, excluded)
    expected = np.nonzero((support >= least) & ~excluded)
    assert len(found) > 0
    order = np.lexsort((found.columns, found.rows, found.indices))
    for values, places in zip((found.indices, found.rows, found.columns), expected, strict=True):
        assert np.array_equal(values[order], places)
    assert np.array_equal(found.support[order], support[expected])


def test_circles_come_in_the_order_of_their_radii_rows_and_columns():
    found = CircleVotes(edges_of(1, (90, 120)), (90, 120), MARGIN, RADII).circles(0.3)
    rows_in_windows = np.diff(found.indices) >= 0
    assert rows_in_windows.all()
    same_radius = np.diff(found.indices) == 0
    assert (np.diff(found.rows)[same_radius] >= 0).all()
    same_row = same_radius & (np.diff(found.rows) == 0)
    assert (np.diff(found.columns)[same_row] > 0).all()


def test_the_support_of_single_circles_is_that_of_all():
    shape = 70, 85
    edges = edges_of(2, shape)
    votes = CircleVotes(edges, shape, MARGIN, RADII)
    support = pooled_everywhere(edges, shape)
    assert np.array_equal(votes.support(), support)
    for index, row, column in ((0, 0, 0), (8, 81, 96), (4, 40, 3)):
        assert votes.support_at(index, row, column) == support[index, row, column]


def test_without_enough_votes_there_are_none():
    edges = Edges(np.array([[10], [10]]), np.array([[1.0], [0.0]], np.float32))
    assert len(CircleVotes(edges, (60, 60), MARGIN, RADII).circles(0.42)) == 0
