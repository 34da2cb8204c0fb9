import csv
import io
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.cli.output import CsvTable, describe, render_differential, top_two
from bc_sam.errors import ImageError
from bc_sam.models.bc_sam import Prediction

LABELS = ("basophil", "monocyte", "smudge_cell")
UNREADABLE = Prediction("b.png", None, None, None, error=ImageError("b.png does not exist. Check the path."))


def prediction(*probabilities):
    values = np.array(probabilities, dtype=np.float32)
    return Prediction("a.png", LABELS[values.argmax()], values, np.zeros(2, np.float32))


class TestOneCell:
    @given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
    def test_the_first_guess_is_the_label_and_the_second_the_best_of_the_rest(self, probabilities):
        guess = prediction(*probabilities)
        (first, p), (second, q) = top_two(guess, LABELS)
        assert first == guess.label
        assert second != first
        assert [p, q] == sorted(probabilities, reverse=True)[:2]

    def test_a_line_tells_file_label_and_second_guess(self):
        assert describe("a.png", prediction(0.2, 0.7, 0.1), LABELS) == "a.png: monocyte 0.70 (else basophil 0.20)"

    def test_a_line_tells_that_a_file_cannot_be_read(self):
        assert describe("b.png", UNREADABLE, LABELS) == "b.png: cannot be read"


def test_the_table_has_a_row_for_each_cell():
    file = io.StringIO(newline="")
    table = CsvTable(file, LABELS)
    table.add("a.png", prediction(0.2, 0.7, 0.1))
    table.add("b.png", UNREADABLE)
    table.add("ü,\n.png", prediction(0, 0, 1))
    file.seek(0)
    rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["a.png", "b.png", "ü,\n.png"]
    assert [row["label"] for row in rows] == ["monocyte", "", "smudge_cell"]
    assert [row["probability"] for row in rows] == ["0.7000", "", "1.0000"]
    assert (rows[0]["second"], rows[0]["second_probability"]) == ("basophil", "0.2000")
    assert [row["error"] for row in rows] == ["", str(UNREADABLE.error), ""]
    assert [rows[0][label] for label in LABELS] == ["0.2000", "0.7000", "0.1000"]
    assert [rows[1][label] for label in LABELS] == [""] * 3


@given(st.dictionaries(st.sampled_from(LABELS), st.integers(1, 500), min_size=1))
def test_the_differential_counts_every_cell_the_most_common_first(counts):
    title, *lines = render_differential(Counter(counts)).splitlines()
    assert title == f"Differential count of {sum(counts.values())} cells"
    rows = [line.split() for line in lines]
    assert {label: int(count) for label, count, _ in rows} == counts
    assert [int(count) for _, count, _ in rows] == sorted(counts.values(), reverse=True)
    assert sum(float(share.rstrip("%")) for *_, share in rows) == pytest.approx(100, abs=0.2)


def test_predicting_needs_none_of_the_packages_of_training():
    script = """
import sys, transformers, peft
sys.modules |= dict.fromkeys(["datasets", "accelerate", "matplotlib", "xgboost"])
import bc_sam.cli, bc_sam.models.bc_sam, bc_sam.cli.output
"""
    subprocess.run([sys.executable, "-c", script], check=True)
