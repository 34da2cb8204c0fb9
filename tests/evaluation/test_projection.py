"""Projections are two-dimensional, finite and deterministic, and keep distant groups apart."""

import numpy as np
import pytest

from bc_sam.errors import DataError
from bc_sam.evaluation.projection import project


@pytest.mark.parametrize(
    ("shape", "method"), [((60, 50), "t-SNE"), ((3001, 4), "PCA"), ((5, 50), "PCA"), ((1, 50), "PCA"), ((9, 1), "PCA")]
)
def test_projection_is_two_dimensional_finite_and_deterministic(shape: tuple[int, int], method: str) -> None:
    latents = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    points, used = project(latents)
    assert used == method
    assert points.shape == (shape[0], 2)
    assert points.dtype == np.float32
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points, project(latents)[0])


def test_projection_keeps_distant_groups_apart() -> None:
    random = np.random.default_rng(0)
    points, _ = project(np.concatenate([random.normal(0, 1, (40, 10)), random.normal(50, 1, (40, 10))]))
    radius = np.linalg.norm(points[:40] - points[:40].mean(0), axis=1).max()
    assert np.linalg.norm(points[:40].mean(0) - points[40:].mean(0)) > radius


def test_projection_of_a_collapsed_autoencoder_is_one_point() -> None:
    points, _ = project(np.zeros((40, 50)))
    np.testing.assert_array_equal(points, np.zeros((40, 2)))


@pytest.mark.parametrize("latents", [np.zeros((0, 50)), np.zeros(50), np.full((4, 50), np.nan)])
def test_projection_refuses_invalid_latents(latents: np.ndarray) -> None:
    with pytest.raises(DataError, match="latents"):
        project(latents)
