"""The answer for one cell as HTML and JSON, for models of every method."""

import numpy as np
import pytest
from drawn_smear import draw_smear
from small_model import small_model
from small_network import small_comparison

from bc_sam.config.normalization import NormalizationConfig
from bc_sam.errors import ImageError
from bc_sam.models.abstention import RejectionThresholds
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views import cell_view
from bc_sam.space.views.cell_view import as_json, render_cell_view, view_cell
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel

LENIENT = RejectionThresholds(probability=0, ood=1)


def view(model, source):
    return view_cell(LoadedModel("small", model), source, "cell.png", PageSettings())


def test_every_classifier_is_listed_and_the_selected_one_decides(model, cell_files):
    seen = view(model, cell_files[0])
    for classifier in model.classifiers:
        answer = as_json(seen, Choice(classifier, LENIENT))
        (expected,) = model.predict_proba([cell_files[0]], classifier=classifier)
        assert answer["likeliest"] == model.labels[expected.argmax()]
        assert answer["probability"] == pytest.approx(expected.max(), abs=1e-4)
        assert set(answer["classifiers"]) == set(model.classifiers)
        page = render_cell_view(seen, Choice(classifier, LENIENT))
        assert page.count("<article>") == len(model.classifiers)
        assert page.count('<span class="bc-tag">selected</span>') == 1


def test_without_a_cell_neither_name_nor_guess_is_shown(model):
    page = render_cell_view(view(model, np.zeros((96, 96, 3), np.uint8)), Choice("rf", LENIENT))
    assert "The image shows nothing." in page
    assert "Most likely" not in page


@pytest.mark.parametrize(("variant", "pictures"), [("resnet", 1), ("slca", 1), ("shape-aware", 2)])
def test_models_of_other_methods_show_what_they_compute(variant, pictures, cell_files):
    other = small_comparison(variant)
    seen = view(other, cell_files[0])
    choice = Choice(variant, LENIENT)
    assert [bool(part) for part in (seen.crop, seen.rendered)] == [pictures == 2, False]
    assert as_json(seen, choice)["ood"] is None
    if seen.shows_cell:
        assert render_cell_view(seen, choice).count("<figure>") == pictures


class TestNormalized:
    @pytest.fixture
    def normalized(self):
        return small_model(normalization=NormalizationConfig(30.0))

    def test_the_answer_is_that_of_the_model(self, normalized, cell_files):
        (expected,) = normalized.predict_proba([cell_files[0]], classifier="rf")
        answer = as_json(view(normalized, cell_files[0]), Choice("rf", LENIENT))
        assert answer["probability"] == pytest.approx(expected.max(), abs=1e-4)

    def test_the_outline_is_drawn_on_the_original(self, normalized, monkeypatch):
        """A model that segments all it sees, which is a window of the photograph."""
        image = draw_smear(300, 50, white_cell=100)[:260]
        drawn = []
        monkeypatch.setattr(cell_view, "outlined", lambda picture, mask: drawn.append(mask) or picture)
        view(normalized, image)
        (mask,) = drawn
        assert mask.shape == (260, 300)
        (prepared,) = next(normalized.batches([image], 1)).prepared
        outside = np.ones((260, 300), bool)
        outside[prepared.window.overlap((260, 300))[0]] = False
        assert outside.any()
        assert not mask[outside].any()

    def test_an_unknown_scale_is_a_reason(self):
        model = small_comparison("resnet", normalization=NormalizationConfig(30.0))
        noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
        page = render_cell_view(view(model, noise), Choice("resnet", LENIENT))
        assert "The scale could not be measured" in page

    def test_an_image_above_the_limit_is_rejected(self, normalized, cell_files):
        loaded = LoadedModel("small", normalized)
        with pytest.raises(ImageError, match="pixels"):
            view_cell(loaded, cell_files[0], "cell.png", PageSettings(max_pixels=100))
