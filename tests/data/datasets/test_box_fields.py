"""Boxes on fields in COCO, Pascal VOC and YOLO become cells with their surroundings."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from bc_sam.config.labels import LABELS
from bc_sam.data import load_cells
from bc_sam.errors import DataError

#: Name, left, top, right and bottom edge of the boxes of two fields.
BOXES = {
    "train/images/a.png": [("EOS", 40, 50, 80, 90), ("RBC", 0, 0, 20, 20), ("WBC", 150, 60, 190, 100)],
    "valid/images/b.png": [("monocyte", -5, 10, 25, 40), ("Platelets", 100, 100, 110, 110)],
}
WIDTH, HEIGHT = 200, 120


@pytest.fixture(autouse=True)
def messages(caplog):
    caplog.set_level(logging.INFO, "bc_sam")


@pytest.fixture
def fields(tmp_path):
    """Two fields whose every crop is different."""
    for seed, file in enumerate(BOXES):
        path = tmp_path / "fields" / file
        path.parent.mkdir(parents=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "fields"


def write_coco(root):
    names = ["EOS", "RBC", "WBC", "monocyte", "Platelets"]
    for split in ("train", "valid"):
        files = [file for file in BOXES if file.startswith(split)]
        table = {
            "categories": [{"id": i + 7, "name": name} for i, name in enumerate(names)],
            "images": [{"id": i, "file_name": file.rpartition("/")[2]} for i, file in enumerate(files)],
            "annotations": [
                {"image_id": i, "category_id": names.index(name) + 7, "bbox": [left, top, right - left, bottom - top]}
                for i, file in enumerate(files)
                for name, left, top, right, bottom in BOXES[file]
            ],
        }
        (root / split / "_annotations.coco.json").write_text(json.dumps(table))


def write_voc(root):
    for file, boxes in BOXES.items():
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{r}</xmax><ymax>{b}</ymax>"
            "</bndbox></object>"
            for name, x, y, r, b in boxes
        )
        path = root / file.replace("images/", "Annotations/").replace(".png", ".xml")
        path.parent.mkdir()
        path.write_text(f"<annotation><filename>old.jpg</filename>{objects}</annotation>")


def write_yolo(root):
    names = ["EOS", "RBC", "WBC", "monocyte", "Platelets"]
    (root / "data.yaml").write_text(f"train: ../train/images\nnames: {json.dumps(names)}\n")
    for file, boxes in BOXES.items():
        lines = [
            f"{names.index(name)} {(x + r) / 2 / WIDTH} {(y + b) / 2 / HEIGHT} {(r - x) / WIDTH} {(b - y) / HEIGHT}"
            for name, x, y, r, b in boxes
        ]
        path = root / file.replace("images/", "labels/").replace(".png", ".txt")
        path.parent.mkdir()
        path.write_text("\n".join(lines))


@pytest.fixture(params=[write_coco, write_voc, write_yolo], ids=["coco", "voc", "yolo"])
def annotated(request, fields):
    request.param(fields)
    return fields


def labels_by_file(dataset):
    return {row["file"]: None if row["label"] is None else LABELS[row["label"]] for row in dataset}


def test_white_cells_are_cropped_with_their_surroundings(annotated, caplog):
    dataset = load_cells(f"ours={annotated}")
    assert labels_by_file(dataset) == {
        "train/images/a.png#1": "eosinophil",
        "train/images/a.png#2": None,
        "valid/images/b.png#1": "monocyte",
    }
    field = np.asarray(Image.open(annotated / "train/images/a.png"))
    crops = [np.asarray(image) for image in dataset["image"]]
    assert np.array_equal(crops[0], field[30:110, 20:100])  # twice the box
    assert np.array_equal(crops[1], field[40:120, 120:200])  # shifted to stay inside
    assert crops[2].shape == (60, 60, 3)  # clipped at the edge
    assert "left out: Platelets 1, RBC 1" in dataset.info.description
    assert "the splits train (1), valid (1) are joined" in caplog.text
    assert "cells of the class WBC are unlabelled" in caplog.text


def test_cells_of_one_field_are_a_group_unless_a_pattern_says_more(annotated):
    dataset = load_cells(f"ours={annotated}")
    assert dataset["group"][:] == ["train/images/a.png"] * 2 + ["valid/images/b.png"]
    assert set(load_cells(f"ours={annotated}", group_pattern=r"([ab])\.png")["group"]) == {"a", "b"}


def test_a_split_and_a_label_map_are_applied(annotated):
    dataset = load_cells(f"ours={annotated}", split="train", label_map={"wbc": "basophil", "EOS": None})
    assert labels_by_file(dataset) == {"train/images/a.png#1": "basophil"}


def test_only_cells_without_a_class_are_an_error(fields):
    (fields / "train/images/a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (fields / "classes.txt").write_text("RBC\n")
    with pytest.raises(DataError, match=r"no boxes of white cells, but RBC 1"):
        load_cells(f"ours={fields}")


def test_entities_in_xml_are_refused(fields):
    (fields / "a.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    with pytest.raises(DataError, match="declares entities"):
        load_cells(f"ours={fields}")
