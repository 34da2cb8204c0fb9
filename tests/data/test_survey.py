"""Potential problems of the data are reported before training; unusable data are rejected."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bc_sam.config.labels import LABELS
from bc_sam.data import load_cells
from bc_sam.data.store import store_cells
from bc_sam.data.survey import require_two_classes, survey_cells
from bc_sam.errors import DataError


def write(folder, cells):
    for name, image in cells:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)


@pytest.fixture(scope="module")
def rendered():
    cells = load_cells("north=rendered:munich:2")
    return [(f"{LABELS[cell['label']]}/s{i % 3}_{i}.png", cell["image"]) for i, cell in enumerate(cells)]


def survey_of(cells, folder, **options):
    write(folder / "cells", cells)
    dataset = load_cells(f"ours={folder / 'cells'}", **options)
    return survey_cells(store_cells([dataset], folder / "store", 96), LABELS, quiet=True)


def test_images_slides_and_classes_are_counted(rendered, tmp_path):
    survey = survey_of(rendered, tmp_path, group_pattern="^([^_]+)_")
    assert survey.images == survey.labelled == {"ours": 26}
    assert survey.slides == {"ours": 3}
    assert survey.classes["monocyte"] == {"ours": 2}
    assert survey.blank == survey.blurred == []
    text = str(survey)
    assert "only 3 slides" in text
    assert "few cells of" in text


def test_blank_and_blurred_images_and_copies_are_reported(rendered, tmp_path):
    _, image = rendered[20]
    odd = [
        ("monocyte/blank.png", Image.new("RGB", image.size, "white")),
        ("monocyte/blurred.png", image.filter(ImageFilter.GaussianBlur(5))),
        ("monocyte/copy.png", image.rotate(90)),
    ]
    survey = survey_of([*rendered, *odd], tmp_path)
    assert survey.blank == ["monocyte/blank.png"]
    assert survey.blurred == ["monocyte/blurred.png"]
    assert survey.copies >= 2
    warnings = " ".join(survey.warnings)
    assert "1 blank image: monocyte/blank.png" in warnings
    assert "--group-pattern" in warnings


def test_class_imbalance_is_reported(rendered, tmp_path):
    image = rendered[0][1]
    many = [(f"basophil/{i}.png", Image.fromarray(np.roll(np.asarray(image), i, axis=1))) for i in range(45)]
    survey = survey_of([*many, ("monocyte/0.png", image), ("monocyte/1.png", image.rotate(9))], tmp_path)
    assert any("45 basophil and 2 monocyte" in warning for warning in survey.warnings)


def test_a_single_class_is_rejected(rendered, tmp_path):
    survey = survey_of([cell for cell in rendered if cell[0].startswith("monocyte")], tmp_path)
    with pytest.raises(DataError, match="two classes, but found monocyte"):
        require_two_classes(survey)


def test_real_images_are_neither_blank_nor_blurred(real_data, tmp_path):
    dataset = load_cells(f"ours={real_data / 'new_hospital'}", label_map={"neutrophil": None, "lymphocyte": None})
    survey = survey_cells(store_cells([dataset], tmp_path / "store", 224), LABELS, quiet=True)
    assert survey.blank == survey.blurred == []


def test_copies_with_different_labels_are_named(rendered, tmp_path):
    name, image = rendered[20]
    other = "monocyte/turned.png" if not name.startswith("monocyte") else "basophil/turned.png"
    survey = survey_of([*rendered, (other, image.rotate(90))], tmp_path)
    assert len(survey.contradicting_copies) == 1
    assert other in survey.contradicting_copies[0]
    assert name in survey.contradicting_copies[0]
    assert "1 pair of copies with different labels" in " ".join(survey.warnings)


def test_odd_mask_values_are_named(rendered, tmp_path):
    (tmp_path / "masks").mkdir()
    mask = np.zeros(rendered[0][1].size[::-1], np.uint8)
    mask[20:40, 20:40], mask[25:30, 25:30] = 128, 255
    Image.fromarray(mask).save(tmp_path / "masks" / "odd.png")
    (tmp_path / "masks" / "pairs.csv").write_text(f"image,mask\n{rendered[0][0]},masks/odd.png\n")
    survey = survey_of(rendered, tmp_path, masks=tmp_path / "masks" / "pairs.csv")
    assert "values other than 0 (background), 1 (cytoplasm) and 2 (nucleus): 128, 255." in " ".join(survey.warnings)


def test_a_single_slide_is_said(rendered, tmp_path):
    survey = survey_of(rendered, tmp_path, group_pattern="^(s)")
    assert "ours: only one slide, so none can be held out" in " ".join(survey.warnings)
