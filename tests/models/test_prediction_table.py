"""The CSV has one row per image, gives the reasons for abstaining, and contains no formulas."""

import csv
import io

import numpy as np
import pytest

from bc_sam.errors import ImageError
from bc_sam.models.abstention import Decision, Reason, decide
from bc_sam.models.prediction import Prediction
from bc_sam.models.prediction_table import COLUMNS, PredictionTable

LABELS = ("basophil", "monocyte", "smudge_cell")
UNREADABLE = Prediction("b.png", None, None, None, error=ImageError("b.png does not exist. Check the path."))
REASONS = (
    Reason("The image is out of focus.", True, "blurred"),
    Reason("Check the outline: it is ragged.", False, "check outline"),
)


def prediction(*probabilities, reasons=(), ood=None, labels=LABELS):
    values = np.array(probabilities, dtype=np.float32)
    return Prediction.of("", Decision(int(values.argmax()), reasons), values, labels, ood=ood)


def rows(*added, labels=LABELS):
    file = io.StringIO(newline="")
    table = PredictionTable(file, labels)
    for name, one, options in added:
        table.add(name, one, **options)
    file.seek(0)
    return list(csv.DictReader(file))


def test_fixed_columns_are_followed_by_the_labels():
    file = io.StringIO(newline="")
    PredictionTable(file, LABELS)
    assert file.getvalue().strip().split(",") == [*COLUMNS, *LABELS]
    assert COLUMNS[:6] == ("file", "name", "likeliest", "probability", "reasons", "ood")


def test_a_named_cell():
    (row,) = rows(("a.png", prediction(0.2, 0.7, 0.1, ood=0.25), {"given_by": "rf"}))
    assert (row["file"], row["name"], row["likeliest"], row["probability"]) == (
        "a.png",
        "monocyte",
        "monocyte",
        "0.7000",
    )
    assert (row["reasons"], row["ood"], row["given_by"], row["error"]) == ("", "0.2500", "rf", "")
    assert (row["second"], row["second_probability"]) == ("basophil", "0.2000")
    assert [row[label] for label in LABELS] == ["0.2000", "0.7000", "0.1000"]


def test_a_cell_without_a_name_has_reasons_and_no_given_by():
    (row,) = rows(("a.png", prediction(0.2, 0.7, 0.1, reasons=REASONS), {"given_by": "rf"}))
    assert (row["name"], row["likeliest"], row["given_by"]) == ("", "monocyte", "")
    assert row["reasons"] == "The image is out of focus. Check the outline: it is ragged."


def test_a_parents_name_stands_before_its_likeliest_kind():
    labels = ("neutrophil_banded", "neutrophil_segmented", "monocyte")
    shares = np.array([0.4, 0.5, 0.1], np.float32)
    named = Prediction.of("", decide(shares, None, labels=labels), shares, labels)
    (row,) = rows(("a.png", named, {"given_by": "rf"}), labels=labels)
    assert (row["name"], row["likeliest"], row["probability"]) == ("neutrophil", "neutrophil_segmented", "0.5000")
    assert (row["second"], row["given_by"]) == ("neutrophil_banded", "rf")
    assert "The kind of neutrophil is not certain" in row["reasons"]


def test_a_manual_name_overrides_the_models():
    (row,) = rows(("a.png", prediction(0.2, 0.7, 0.1), {"given_by": "hand", "name": "smudge_cell"}))
    assert (row["name"], row["likeliest"], row["given_by"]) == ("smudge_cell", "monocyte", "hand")


def test_an_unreadable_image_only_has_an_error():
    (row,) = rows(("b.png", UNREADABLE, {"given_by": "rf"}))
    assert row.pop("file") == "b.png"
    assert row.pop("error") == str(UNREADABLE.error)
    assert set(row.values()) == {""}


def test_names_with_separators_are_quoted():
    (row,) = rows(("ü,\n.png", prediction(0, 0, 1), {}))
    assert row["file"] == "ü,\n.png"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", ";", "\uff1d"])
def test_formulas_are_escaped(start):
    labels = (f"{start}HYPERLINK(1)", "monocyte", "smudge_cell")
    error = Prediction("", None, None, None, ImageError(f"{start}1.png is no image."))
    named, bad = rows(
        (f"{start}1.png", prediction(0.7, 0.2, 0.1, labels=labels), {}), (f"{start}1.png", error, {}), labels=labels
    )
    assert list(named)[len(COLUMNS)] == f"'{labels[0]}"
    assert (named["file"], named["name"], named["likeliest"]) == (f"'{start}1.png", f"'{labels[0]}", f"'{labels[0]}")
    assert (bad["file"], bad["error"]) == (f"'{start}1.png", f"'{start}1.png is no image.")


def test_further_columns_come_last_and_also_for_unreadable_images():
    file = io.StringIO()
    table = PredictionTable(file, LABELS, further=("field", "left"))
    table.add("a.png", prediction(0.2, 0.7, 0.1), further=("smear.jpg", "12"))
    table.add("b.png", UNREADABLE, further=("", ""))
    first, second = csv.DictReader(io.StringIO(file.getvalue()))
    assert list(first)[-2:] == ["field", "left"]
    assert (first["field"], first["left"]) == ("smear.jpg", "12")
    assert (second["field"], second["left"]) == ("", "")
