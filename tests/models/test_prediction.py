"""A prediction has a label, or the reasons against one."""

import base64
import io
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bc_sam.errors import ImageError
from bc_sam.models.abstention import Decision, Reason, decide
from bc_sam.models.prediction import Prediction, top_labels
from bc_sam.models.prediction_html import picture_table

LABELS = ("basophil", "monocyte", "smudge_cell")
SHARES = np.array([0.2, 0.7, 0.1], np.float32)
CHECK = Reason("Check the outline: it is ragged.", False, "check outline")
BLANK = Reason("The image shows nothing.", True, "blank")


@pytest.mark.parametrize(
    ("reasons", "label", "abstained", "check"),
    [((), "monocyte", False, False), ((CHECK,), "monocyte", False, True), ((BLANK, CHECK), None, True, False)],
)
def test_a_decision_becomes_a_label_or_none(reasons, label, abstained, check):
    prediction = Prediction.of("a.png", Decision(1, reasons), SHARES, LABELS, ood=0.3)
    assert (prediction.label, prediction.likeliest) == (label, "monocyte")
    assert (prediction.abstained, prediction.check) == (abstained, check)
    assert prediction.probability == pytest.approx(0.7)
    assert (prediction.reasons, prediction.ood, prediction.source) == (reasons, 0.3, "a.png")


def test_a_parents_name_has_the_probability_of_all_its_kinds():
    labels = ("neutrophil_banded", "neutrophil_segmented", "monocyte")
    shares = np.array([0.4, 0.5, 0.1], np.float32)
    prediction = Prediction.of("a.png", decide(shares, None, labels=labels), shares, labels)
    assert (prediction.label, prediction.likeliest, prediction.check) == ("neutrophil", "neutrophil_segmented", True)
    assert prediction.label_probability == pytest.approx(0.9)
    assert prediction.probability == pytest.approx(0.5)
    assert repr(prediction) == "Prediction(a.png: neutrophil 0.90; which kind?)"
    assert prediction.to_dict()["label"] == "neutrophil"


def test_an_unreadable_image_is_not_an_abstention():
    prediction = Prediction("a.png", None, None, None, ImageError("broken"))
    assert not prediction.abstained
    assert not prediction.check
    assert prediction.probability is None


def test_predictions_are_equal_if_they_say_the_same_of_the_same_source():
    cell = np.zeros((3, 3, 3))
    named = Prediction.of(cell, Decision(1), SHARES, LABELS)
    assert named == Prediction.of(cell, Decision(1), SHARES, LABELS)
    assert named != Prediction.of(cell, Decision(1), SHARES[::-1], LABELS)
    assert named != Prediction.of("a.png", Decision(1), SHARES, LABELS)
    assert named != "monocyte"


@pytest.mark.parametrize(
    ("prediction", "printed"),
    [
        (Prediction.of("a.png", Decision(1), SHARES, LABELS), "Prediction(a.png: monocyte 0.70)"),
        (
            Prediction.of("a.png", Decision(1, (CHECK,)), SHARES, LABELS),
            "Prediction(a.png: monocyte 0.70; check outline)",
        ),
        (
            Prediction.of("a.png", Decision(1, (BLANK,)), SHARES, LABELS),
            "Prediction(a.png: no name, likeliest monocyte 0.70; blank)",
        ),
        (Prediction("a.png", None, None, None, ImageError("broken")), "Prediction(a.png: broken)"),
        (Prediction.of(np.zeros(3), Decision(1), SHARES, LABELS), "Prediction(ndarray: monocyte 0.70)"),
    ],
)
def test_it_prints_in_one_line(prediction, printed):
    assert repr(prediction) == printed


def test_plain_data_survive_json():
    facts = Prediction.of("a.png", Decision(1, (CHECK,)), SHARES, LABELS, latent=np.ones(2, np.float32)).to_dict()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["label"] == "monocyte"
    assert facts["reasons"] == ["check outline"]
    assert facts["embedding"] == [1.0, 1.0]


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), st.integers(1, 3))
def test_the_most_probable_labels_come_first(probabilities, count):
    values = np.array(probabilities, np.float32)
    top = top_labels(values, LABELS, count)
    assert top[0][0] == LABELS[values.argmax()]
    assert [share for _, share in top] == sorted(probabilities, reverse=True)[:count]
    assert len({label for label, _ in top}) == count


class TestNotebook:
    """A prediction is shown as a row with its picture."""

    def test_it_has_picture_label_and_probability(self):
        cell = np.full((200, 100, 3), 90, np.uint8)
        shown = Prediction.of(cell, Decision(1, (CHECK,)), SHARES, LABELS)._repr_html_()
        for text in ("<td>ndarray</td>", "<td>monocyte</td>", "<td>0.70</td>", "<td>check outline</td>"):
            assert text in shown
        picture = base64.b64decode(re.search(r"base64,([^\"]+)", shown)[1])
        assert Image.open(io.BytesIO(picture)).size == (36, 72)

    def test_the_image_of_the_caller_keeps_its_size(self):
        cell = Image.new("RGB", (100, 200))
        Prediction.of(cell, Decision(1), SHARES, LABELS)._repr_html_()
        assert cell.size == (100, 200)

    def test_without_a_label_it_says_why(self):
        shown = Prediction.of("gone.png", Decision(1, (BLANK,)), SHARES, LABELS)._repr_html_()
        assert "no name (likeliest: monocyte)" in shown
        assert "<td>blank</td>" in shown
        assert "<img" not in shown  # the file is not there

    def test_file_names_are_no_markup(self):
        shown = Prediction("<b>.png", None, None, None, ImageError("<i>broken</i>"))._repr_html_()
        assert "&lt;b&gt;.png" in shown
        assert "&lt;i&gt;broken" in shown

    def test_several_are_rows_of_one_table(self):
        shown = picture_table(Prediction.of("a.png", Decision(i), SHARES, LABELS) for i in range(3))
        assert shown.count("<table>") == 1
        assert shown.count("<tr>") == 4
