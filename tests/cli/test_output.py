"""Predictions as printed in the terminal."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.cli.output import describe, render_differential
from bc_sam.errors import ImageError
from bc_sam.models.abstention import Decision, Reason
from bc_sam.models.prediction import Prediction

LABELS = ("basophil", "monocyte", "smudge_cell")
SHARES = np.array([0.2, 0.7, 0.1], np.float32)
BLANK = Reason("The image shows nothing.", True, "blank")
CHECK = Reason("Check the outline: it is ragged.", False, "check outline")


def prediction(*reasons):
    return Prediction.of("a.png", Decision(1, reasons), SHARES, LABELS)


class TestOneCell:
    def test_a_line_has_file_label_and_runner_up(self):
        assert describe("a.png", prediction(), LABELS) == "a.png: monocyte 0.70 (else basophil 0.20)"

    def test_a_line_says_why_there_is_no_name(self):
        assert describe("a.png", prediction(BLANK), LABELS) == "a.png: no name. The image shows nothing."

    def test_a_line_says_what_to_check(self):
        line = describe("a.png", prediction(CHECK), LABELS)
        assert line == "a.png: monocyte 0.70 (else basophil 0.20) Check the outline: it is ragged."

    def test_a_line_reports_an_unreadable_file(self):
        unreadable = Prediction("b.png", None, None, None, error=ImageError("b.png does not exist."))
        assert describe("b.png", unreadable, LABELS) == "b.png: cannot be read"

    def test_names_and_labels_cannot_control_the_terminal(self):
        labels = ("basophil", "mono\x1b[2Jcyte", "smudge_cell")
        line = describe("a\n\x1b[31m\udcff.png", prediction(), labels)
        assert line == "a\\n\\x1b[31m\\udcff.png: mono\\x1b[2Jcyte 0.70 (else basophil 0.20)"


@given(st.dictionaries(st.sampled_from(LABELS), st.integers(1, 500), min_size=1))
def test_the_differential_lists_every_class_most_common_first(counts):
    title, *lines = render_differential(counts).splitlines()
    assert title == f"Differential count of {sum(counts.values())} cells (95 % confidence interval)"
    rows = [line.split() for line in lines]
    assert {label: int(count) for label, count, *_ in rows} == counts
    assert [int(count) for _, count, *_ in rows] == sorted(counts.values(), reverse=True)
    shares = [float(share.rstrip("%")) for _, _, share, *_ in rows]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    for share, (*_, low, _, high) in zip(shares, rows, strict=True):
        assert float(low.strip("(%")) <= share <= float(high.strip(")%"))


def test_predict_imports_no_training_packages():
    script = """
import sys, transformers, peft
sys.modules |= dict.fromkeys(["datasets", "accelerate", "matplotlib", "xgboost"])
import bc_sam.cli, bc_sam.models.auto, bc_sam.models.prediction_table, bc_sam.cli.output
"""
    subprocess.run([sys.executable, "-c", script], check=True)
