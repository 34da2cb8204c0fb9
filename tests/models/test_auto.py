"""`load_model` loads a model of any method."""

from typing import get_args

import numpy as np
import pytest
from small_model import small_model
from small_network import small_comparison

import bc_sam
from bc_sam import BCSam, load_model
from bc_sam.config.network import Method
from bc_sam.models.auto import model_class
from bc_sam.models.comparison import ComparisonModel


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_has_a_class(method):
    assert method in model_class(method).methods


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (small_model, BCSam),
        (lambda: small_comparison("resnet"), ComparisonModel),
        (lambda: small_comparison("slca"), ComparisonModel),
        (lambda: small_comparison("shape-aware"), ComparisonModel),
    ],
)
def test_a_model_keeps_its_class(make, kind, tmp_path):
    cells = [np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)]
    model = make()
    loaded = load_model(model.save_pretrained(tmp_path / "model"), device="cpu", dtype="float32")
    assert type(loaded) is kind
    np.testing.assert_array_equal(loaded.predict_proba(cells), model.predict_proba(cells))


def test_options_reach_the_model(tmp_path):
    folder = small_model().save_pretrained(tmp_path / "model")
    assert set(load_model(folder, classifiers=["rf"]).classifiers) == {"rf"}
    assert load_model(folder, dtype="bfloat16").sam.vision_encoder.pos_embed.dtype.itemsize == 2


def test_the_default_is_the_bundled_model():
    assert load_model(classifiers=[]).config.domains == ("matek19", "acevedo20", "bccd")


def test_it_is_exported():
    assert bc_sam.load_model is load_model
    assert "load_model" in bc_sam.__all__
