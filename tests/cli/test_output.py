"""Predictions as printed in the terminal."""

import re
import subprocess
import sys
from typing import ClassVar

import numpy as np

from bc_sam.cli.output import describe, render_differential
from bc_sam.errors import ImageError
from bc_sam.models.abstention import Decision, Reason, decide
from bc_sam.models.differential import differential_count
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

    def test_a_line_has_the_parents_name_if_only_the_kind_is_open(self):
        labels = ("neutrophil_banded", "neutrophil_segmented", "monocyte")
        shares = np.array([0.4, 0.5, 0.1], np.float32)
        named = Prediction.of("a.png", decide(shares, None, labels=labels), shares, labels)
        assert describe("a.png", named, labels) == (
            "a.png: neutrophil 0.90 The kind of neutrophil is not certain: segmented neutrophil 50 %, band neutrophil "
            "40 %."
        )

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


class TestCount:
    COUNTS: ClassVar = {"neutrophil_segmented": 5, "neutrophil_banded": 1, "monocyte": 4, "erythroblast": 2}

    def test_it_is_printed_as_a_laboratory_does(self):
        title, *lines = render_differential(differential_count(self.COUNTS)).splitlines()
        assert title == "Differential count of 10 white cells (95 % confidence interval)"
        assert [re.sub(" {2,}", " | ", line.strip()) for line in lines] == [
            "Neutrophil | 6 | 60.0% | (31.3% to 83.2%)",
            "Segmented neutrophil | 5 | 50.0% | (23.7% to 76.3%)",
            "Band neutrophil | 1 | 10.0% | (1.8% to 40.4%)",
            "Monocyte | 4 | 40.0% | (16.8% to 68.7%)",
            "Nucleated red cell | 2 | 20.0 per 100 | (4.9 to 81.2)",
        ]
        assert lines[1].startswith("    S")

    def test_without_shares_only_numbers_are_printed(self):
        text = render_differential(differential_count(self.COUNTS), shares=False)
        assert "%" not in text
        assert "Neutrophil" in text


def test_predict_imports_no_training_packages():
    script = """
import sys, transformers, peft
sys.modules |= dict.fromkeys(["datasets", "accelerate", "matplotlib", "xgboost"])
import bc_sam.cli, bc_sam.models.auto, bc_sam.models.prediction_table, bc_sam.cli.output
"""
    subprocess.run([sys.executable, "-c", script], check=True)
