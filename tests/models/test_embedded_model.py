"""The bundled model is small, complete, available offline, and useful on real cells."""

import json
import shutil

import numpy as np
import pytest
from datasets import Image

from bc_sam import BCSam, load_acevedo20
from bc_sam.data.datasets.rendered import write_rendered
from bc_sam.data.images import find_images
from bc_sam.errors import WeightsError
from bc_sam.models.abstention import decide
from bc_sam.models.evaluate import evaluate_model
from bc_sam.models.inspection import inspect_cells
from bc_sam.models.laboratory import laboratory_of
from bc_sam.utils.model_source import EMBEDDED_FOLDER, EMBEDDED_MODEL


@pytest.fixture(scope="module")
def model():
    return BCSam.from_pretrained()


def test_it_is_small():
    assert sum(path.stat().st_size for path in EMBEDDED_FOLDER.rglob("*")) < 40e6


def test_it_loads_offline_by_name(model, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    named = BCSam.from_pretrained(EMBEDDED_MODEL, classifiers=["default"])
    assert named.labels == model.labels
    assert model.config.domains == ("matek19", "acevedo20", "bccd")
    assert set(model.classifiers) == {"rf", "svm_poly", "xgboost", "svm_rbf", "ann", "logistic"}


def test_a_local_folder_of_the_same_name_takes_precedence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / EMBEDDED_MODEL).mkdir()
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        BCSam.from_pretrained(EMBEDDED_MODEL)


def test_its_card_has_results_and_no_local_paths():
    card = (EMBEDDED_FOLDER / "README.md").read_text()
    assert "bootstrap confidence intervals of" in card
    assert "CC BY 4.0" in card
    assert "/tmp" not in card
    assert "/work" not in card


def test_it_segments_unseen_rendered_cells(model, tmp_path):
    write_rendered(tmp_path / "cells", ("munich", "tehran"), cells_per_class=1, seed=3)
    files = [file for file in find_images(tmp_path / "cells") if "masks" not in file.parts]
    shares = np.array([mask.mean() for mask in model.segment(files)])
    assert ((shares > 0.02) & (shares < 0.7)).mean() > 0.8


def test_batches_of_any_size_agree(model, tmp_path):
    write_rendered(tmp_path / "cells", ("munich",), cells_per_class=1, seed=3)
    files = [file for file in find_images(tmp_path / "cells") if "masks" not in file.parts]
    together = model.predict_proba(files)
    alone = model.predict_proba(files, batch_size=1)
    np.testing.assert_allclose(alone, together, atol=0.05)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


def test_it_classifies_real_cells_of_its_laboratories(model, real_data):
    """Mostly training cells: this checks that the model is intact; the card reports how good it is."""
    cells = load_acevedo20(real_data / "acevedo20" / "PBC_dataset_normal_DIB")
    some = cells.select(range(0, len(cells), 24)).cast_column("image", Image(decode=False))
    found = {pair.classifier: pair for pair in evaluate_model(model, [some]).pairs}
    assert found["logistic"].accuracy > 0.68
    assert found["logistic"].balanced_accuracy > 0.68


def test_in_an_unseen_laboratory_it_abstains_where_it_errs(model, real_data):
    """Accuracy is much higher on named cells than on those it abstains on."""
    names = {
        "eosinophil": "eosinophil",
        "lymphocyte": "lymphocyte_typical",
        "monocyte": "monocyte",
        "neutrophil": "neutrophil_segmented",
    }
    files = find_images(real_data / "new_hospital")[::2]
    decisions = [
        decide(cell.observed.probabilities["logistic"], cell.observed.ood) for cell in inspect_cells(model, files)
    ]
    correct = np.array([model.labels[a.label] == names[f.parent.name] for a, f in zip(decisions, files, strict=True)])
    rejected = np.array([one.abstain for one in decisions])
    assert 0.2 < rejected.mean() < 0.9
    assert correct[~rejected].mean() > correct[rejected].mean() + 0.15


def test_a_copy_with_a_former_config_key_still_loads(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    assert "allowed_labels" not in config
    config.pop("digest", None)  # as in a model of an earlier version
    (folder / "config.json").write_text(json.dumps(config | {"among": ["eosinophil", "monocyte"]}))
    loaded = BCSam.from_pretrained(folder, classifiers=["default"])
    assert loaded.config.allowed_labels == ("eosinophil", "monocyte")


@pytest.mark.parametrize("pixels", [np.zeros((224, 224, 3), np.uint8), np.full((224, 224, 3), 230, np.uint8)])
def test_a_blank_image_gets_no_name(model, pixels):
    (prediction,) = model.stream([pixels], abstain=True)
    assert prediction.label is None
    assert prediction.reasons[0].text.startswith("The image shows nothing.")
    assert model.predict([pixels], abstain=True) == [None]


def test_laboratories_never_seen_are_unknown_and_its_own_are_not(model, real_data):
    """40 cells of each; a few are training cells of its own laboratories."""
    own = load_acevedo20(real_data / "acevedo20" / "PBC_dataset_normal_DIB").cast_column("image", Image(decode=False))
    own = own.select(range(0, len(own), len(own) // 40))["image"]
    others = [sorted((real_data / name).glob("[!m]*/*.*"))[::6][:40] for name in ("jtsc", "new_hospital")]
    judged = [laboratory_of(model, model.stream(cells, abstain=True)) for cells in (own, *others)]
    assert [fit.known for fit in judged] == [True, False, False]
    assert judged[0].nearest == "acevedo20"
    assert min(fit.shift for fit in judged[1:]) > 2 > judged[0].shift
