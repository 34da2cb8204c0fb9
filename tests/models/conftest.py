"""Prepared images for the tests of all models."""

import numpy as np
import pytest
from small_model import IMAGE_SIZE

from bc_sam.data.datasets.rendered import LABORATORIES, render_cell


@pytest.fixture(scope="session")
def pixels():
    """Three cells (3, S, S, 3) uint8, as small models see them."""
    laboratory = LABORATORIES["munich"]
    return np.stack([render_cell("monocyte", laboratory, np.random.default_rng(n), IMAGE_SIZE)[0] for n in range(3)])
