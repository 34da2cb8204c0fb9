"""An export belongs to certain weights and classifiers, and lies with the model or in the cache."""

from dataclasses import replace

import pytest

from bc_sam.config.model import BCSamConfig
from bc_sam.models.onnx_backend.files import fingerprint

FILES = {"adapter/adapter_model.safetensors": "a", "classifiers/rf.skops": "b", "evaluation.json": "c"}
CONFIG = BCSamConfig(files=FILES)


@pytest.mark.parametrize(
    "change",
    [
        {"files": FILES | {"adapter/adapter_model.safetensors": "x"}},
        {"files": FILES | {"classifiers/rf.skops": "x"}},
        {"files": FILES | {"classifiers/ann.skops": "b"}},
        {"image_size": 80},
        {"image_mean": (200.0, 180.0, 190.0)},
        {"mask_tokens": "two"},
        {"base": "org/sam", "base_revision": "abc", "base_inside": False},
    ],
)
def test_it_is_another_one_if_anything_in_the_graph_changes(change):
    assert fingerprint(replace(CONFIG, **change)) != fingerprint(CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        {"files": FILES | {"evaluation.json": "x"}},
        {"files": FILES | {"classifiers/reference.safetensors": "x"}},
        {"files": FILES | {"onnx/networks.onnx": "x"}},
        {"allowed_labels": ("monocyte", "basophil")},
    ],
)
def test_it_is_the_same_whatever_else_changes(change):
    assert fingerprint(replace(CONFIG, **change)) == fingerprint(CONFIG)
