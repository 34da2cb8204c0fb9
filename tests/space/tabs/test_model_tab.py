"""What the page says of the model in use."""

from small_model import small_model
from small_network import small_comparison

from bc_sam import load_model
from bc_sam.space.tabs.model_tab import render_facts
from bc_sam.space.views.loaded_models import LoadedModel


def facts(model):
    return render_facts(LoadedModel("ours", model))


def test_labels_that_are_expected_more_often_are_shown():
    assert "Expected more often" not in facts(small_model())
    shown = facts(small_model().weigh_labels({"neutrophil_segmented": 3, "monocyte": 1.5}))
    assert "segmented neutrophil (x 3), monocyte (x 1.5)" in shown


def test_a_model_has_its_sam_whatever_computes_it(exported_model):
    """ONNX Runtime computes it without a module of torch."""
    for backend in ("torch", "onnx"):
        assert "custom, included" in facts(load_model(exported_model, backend=backend))
    assert "custom, included" not in facts(small_comparison("resnet"))
