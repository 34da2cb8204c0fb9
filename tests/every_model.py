"""Runs a test on a small model of each kind."""

import pytest
from small_model import small_model
from small_network import small_comparison

every_model = pytest.mark.parametrize("make", [small_model, small_comparison, lambda: small_comparison("shape-aware")])
