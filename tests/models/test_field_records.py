"""Records of fields survive a round trip, and are exported in formats that other programs read."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from bc_sam.data.datasets.box_annotations import read_boxes
from bc_sam.models.abstention import Decision, Reason, decide
from bc_sam.models.field_records import UNNAMED, FieldRecord, white_per_100_red, write_coco, write_geojson, write_table
from bc_sam.models.found_cells import FieldCells, FoundCell
from bc_sam.models.prediction import Prediction

LABELS = ("monocyte", "basophil")


def cell(box, label, *reasons):
    left, top, right, bottom = box
    decision = Decision(LABELS.index(label), tuple(Reason(text, True, text) for text in reasons))
    prediction = Prediction.of(None, decision, np.array([0.8, 0.2], np.float32), LABELS)
    return FoundCell(box, np.ones((bottom - top, right - left), bool), 0.9, prediction=prediction)


@pytest.fixture
def record():
    cells = (cell((10, 20, 40, 60), "monocyte"), cell((50, 5, 80, 30), "basophil", "Unsure."))
    return FieldRecord.of("=a.png", FieldCells((100, 120), cells, red_cells=((0, 0, 9, 9),) * 40))


def test_a_record_survives_a_round_trip(record, tmp_path):
    record.save(tmp_path / "a.json")
    assert FieldRecord.load(tmp_path / "a.json") == record


def test_a_damaged_record_is_an_error(tmp_path):
    (tmp_path / "a.json").write_text('{"cells": [{}]}')
    with pytest.raises(ValueError, match="no record of a field"):
        FieldRecord.load(tmp_path / "a.json")


def test_the_table_has_a_row_for_each_cell_and_no_formulas(record):
    file = io.StringIO()
    write_table([record], file)
    first, second = csv.DictReader(io.StringIO(file.getvalue()))
    assert (first["field"], first["name"], first["left"], first["reasons"]) == ("'=a.png", "monocyte", "10", "")
    assert (second["name"], second["likeliest"], second["reasons"]) == ("", "basophil", "Unsure.")


def test_cells_to_label_first_are_numbered(record):
    seen = replace(record.cells[0], embedding=(0.1, 0.2))
    file = io.StringIO()
    write_table([replace(record, cells=(seen, record.cells[1]))], file)
    assert [row["label_first"] for row in csv.DictReader(io.StringIO(file.getvalue()))] == ["1", ""]


def test_coco_is_read_back_with_the_same_boxes(record, tmp_path):
    write_coco([record], LABELS, tmp_path / "coco.json")
    _, boxes = read_boxes(tmp_path, ["=a.png"], [tmp_path / "coco.json"])
    assert [(box.edges, box.name) for box in boxes] == [
        ((10, 20, 40, 60), "monocyte"),
        ((50, 5, 80, 30), UNNAMED),
    ]


def test_a_parents_name_is_a_class_of_its_own(tmp_path):
    labels = ("monocyte", "neutrophil_banded", "neutrophil_segmented")
    shares = np.array([0.1, 0.4, 0.5], np.float32)
    named = Prediction.of(None, decide(shares, None, labels=labels), shares, labels)
    found = FoundCell((10, 20, 40, 60), np.ones((40, 30), bool), 0.9, prediction=named)
    record = FieldRecord.of("a.png", FieldCells((100, 120), (found,)))
    assert record.counts == {"neutrophil": 1}
    write_coco([record], labels, tmp_path / "coco.json")
    _, (box,) = read_boxes(tmp_path, ["a.png"], [tmp_path / "coco.json"])
    assert box.name == "neutrophil"
    write_geojson(record, labels, tmp_path / "a.geojson")
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert feature["properties"]["classification"]["name"] == "neutrophil"


def test_geojson_has_closed_classified_polygons(record, tmp_path):
    write_geojson(record, LABELS, tmp_path / "a.geojson")
    collection = json.loads((tmp_path / "a.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    for feature, name in zip(collection["features"], ("monocyte", UNNAMED), strict=True):
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert feature["properties"]["objectType"] == "annotation"
        assert feature["properties"]["classification"]["name"] == name
    assert len({feature["id"] for feature in collection["features"]}) == 2


def test_white_cells_are_related_to_red_cells(record):
    assert white_per_100_red([record, record]) == 100 * len(record.cells) / 40
    assert white_per_100_red([FieldRecord("no.png", (9, 9), record.cells)]) is None
