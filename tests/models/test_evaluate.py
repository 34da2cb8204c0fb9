"""A trained model is evaluated on labelled cells with every classifier."""

import pytest
from small_model import small_model

from bc_sam import load_rendered
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.preparation import PROFILE_SAMPLE
from bc_sam.errors import DataError
from bc_sam.models.evaluate import evaluate_model


@pytest.fixture(scope="module")
def cells():
    return load_rendered("munich", cells_per_class=1, labels=["basophil", "eosinophil", "erythroblast"])


def test_every_classifier_is_evaluated_on_every_cell(cells):
    model = small_model()
    evaluation = evaluate_model(model, [cells], batch_size=2)
    assert {pair.classifier for pair in evaluation.pairs} == {"logistic", "rf"}
    assert all(pair.n_test == len(cells) for pair in evaluation.pairs)
    names = [model.labels.index(name) for name in model.predict([cell["image"] for cell in cells])]
    (logistic,) = (pair for pair in evaluation.pairs if pair.classifier == "logistic")
    assert sum(logistic.confusion[i][i] for i in range(len(model.labels))) == sum(
        name == model.labels.index(cells.features["label"].names[cell["label"]])
        for name, cell in zip(names, cells, strict=True)
    )


def test_a_restriction_of_the_labels_is_noted(cells):
    model = small_model()
    model.restrict_labels([model.labels[0], model.labels[3]])
    allowed = f"{model.labels[0]}, {model.labels[3]}"
    assert f"rf was restricted to the labels {allowed}." in evaluate_model(model, [cells]).notes


def test_the_scale_is_that_of_all_classes(tmp_path, monkeypatch):
    """Data sets are often sorted by class, and classes differ in size and stain."""
    n = PROFILE_SAMPLE + 20
    cells = load_rendered("munich", cells_per_class=n // 2, labels=["basophil", "monocyte"], size=48)
    model = small_model(normalization=NormalizationConfig())
    profiles = []
    batches = model.batches
    monkeypatch.setattr(model, "batches", lambda *a, **k: profiles.append(k["profile"]) or batches(*a, **k))
    evaluate_model(model, [cells])
    assert profiles == [model.profile([cell["image"] for cell in cells])]
    assert profiles[0].n_images == PROFILE_SAMPLE


def test_unlabelled_data_is_rejected(cells):
    unlabelled = cells.map(lambda cell: {"label": None})
    with pytest.raises(DataError):
        evaluate_model(small_model(), [unlabelled])
