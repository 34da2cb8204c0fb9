"""The trained model inside the package: small, whole, without a network, and of use on real cells."""

import numpy as np
import pytest
from datasets import Image

from bc_sam import BCSam, load_folder
from bc_sam.config import EMBEDDED_MODEL
from bc_sam.data.rendered import write_rendered
from bc_sam.hub import EMBEDDED_FOLDER
from bc_sam.images import find_images
from bc_sam.model_evaluation import evaluate_model
from bc_sam.tables import best_classifier


@pytest.fixture(scope="module")
def model():
    return BCSam.from_pretrained()


def test_it_is_small():
    assert sum(path.stat().st_size for path in EMBEDDED_FOLDER.rglob("*")) < 40e6


def test_it_loads_without_a_network_under_its_name(model, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    named = BCSam.from_pretrained(EMBEDDED_MODEL, classifiers=["default"])
    assert named.labels == model.labels
    assert model.config.domains == ("matek19", "acevedo20")
    assert set(model.classifiers) == {"rf", "svm_poly", "xgboost", "svm_rbf", "ann", "logistic"}


def test_a_folder_of_its_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / EMBEDDED_MODEL).mkdir()
    with pytest.raises(Exception, match=r"config\.json"):
        BCSam.from_pretrained(EMBEDDED_MODEL)


def test_its_card_tells_what_was_measured_and_holds_no_path():
    card = (EMBEDDED_FOLDER / "README.md").read_text()
    assert "How sure the figures of" in card
    assert "CC BY 4.0" in card
    assert "/tmp" not in card
    assert "/work" not in card


def test_it_outlines_drawn_cells_which_it_has_never_seen(model, tmp_path):
    folder = write_rendered(tmp_path / "cells", ("munich", "tehran"), cells_per_class=1, seed=3)
    files = [file for file in find_images(folder) if "masks" not in file.parts]
    shares = np.array([mask.mean() for mask in model.segment(files)])
    assert ((shares > 0.02) & (shares < 0.7)).mean() > 0.8


def test_half_precision_and_single_images_name_the_same_cells(model, tmp_path):
    folder = write_rendered(tmp_path / "cells", ("munich",), cells_per_class=1, seed=3)
    files = [file for file in find_images(folder) if "masks" not in file.parts]
    together = model.predict_proba(files)
    alone = np.concatenate([model.predict_proba([file]) for file in files])
    np.testing.assert_allclose(alone, together, atol=0.05)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


def test_it_names_the_cells_of_a_hospital_that_it_has_never_seen(model, real_data):
    cells = load_folder(
        real_data / "new_hospital",
        domain="new_hospital",
        label_map={"neutrophil": "neutrophil_segmented", "lymphocyte": "lymphocyte_typical"},
    ).cast_column("image", Image(decode=False))
    evaluation = evaluate_model(model, [cells])
    name = best_classifier(evaluation)
    (pair,) = (pair for pair in evaluation.pairs if pair.classifier == name)
    assert pair.balanced_accuracy > 0.4  # chance is 0.25 if it named these four alone
