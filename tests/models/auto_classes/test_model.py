"""Saved models work with the Auto classes and pipelines of transformers, without remote code."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_model import small_model
from small_network import small_comparison
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification, pipeline

from bc_sam import load_model
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.errors import ConfigError, WeightsError
from bc_sam.models.folder import hash_files, load_config, write_config

CELLS = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (70, 90, 3), np.uint8)) for n in range(2)]


@pytest.fixture(
    scope="module",
    params=[
        lambda: small_model(),
        lambda: small_model(normalization=NormalizationConfig()),
        lambda: small_comparison("slca"),
    ],
    ids=["plain", "normalized", "comparison"],
)
def folder(request, tmp_path_factory):
    return request.param().save_pretrained(tmp_path_factory.mktemp("saved") / "model")


def test_the_config_names_the_classes(folder):
    config = AutoConfig.from_pretrained(folder)
    ours = load_model(folder).labels
    assert (config.model_type, config.num_labels) == ("bc_sam", len(ours))
    assert config.id2label == dict(enumerate(ours))
    assert config.label2id[ours[3]] == 3


def test_a_pipeline_gives_the_probabilities_of_each_cell(folder):
    cells = load_model(folder)
    answers = pipeline("image-classification", model=str(folder), device="cpu")(CELLS, top_k=13)
    assert len(answers) == 2
    for answer, image in zip(answers, CELLS, strict=True):
        ours = dict(zip(cells.labels, cells.predict_proba([image])[0], strict=True))
        theirs = {one["label"]: one["score"] for one in answer}
        assert theirs == pytest.approx(ours, abs=1e-5)


def test_an_auto_model_is_a_torch_module_for_inference(folder, tmp_path):
    model = AutoModelForImageClassification.from_pretrained(folder)
    inputs = AutoImageProcessor.from_pretrained(folder)(CELLS, return_tensors="pt")
    probabilities = model(**inputs).logits.softmax(dim=1)
    expected = np.concatenate([load_model(folder).predict_proba([image]) for image in CELLS])
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert not model.training
    assert sum(parameter.numel() for parameter in model.parameters())
    model.save_pretrained(tmp_path / "copy")
    assert load_model(tmp_path / "copy").predict(CELLS) == load_model(folder).predict(CELLS)
    model.to("meta")
    assert model.device == model.cells.device == torch.device("meta")


def test_a_model_of_the_hub_works_by_its_id(hub, repo_id):
    small_model().push_to_hub(repo_id)
    assert AutoConfig.from_pretrained(repo_id).model_type == "bc_sam"
    (answer,) = pipeline("image-classification", model=repo_id, device="cpu")(CELLS[:1], top_k=1)
    assert answer[0]["label"] == load_model(repo_id).predict(CELLS[:1])[0]


def test_its_files_are_verified(tmp_path):
    folder = small_model().save_pretrained(tmp_path / "model")
    (folder / "autoencoder" / "model.safetensors").write_bytes(b"changed")
    with pytest.raises(WeightsError, match="not the file that was saved"):
        AutoModelForImageClassification.from_pretrained(folder)


def test_options_that_our_models_lack_are_refused(tmp_path):
    folder = small_model().save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match="no option device_map"):
        AutoModelForImageClassification.from_pretrained(folder, device_map="cpu")


def test_models_of_versions_whose_image_processor_differs_are_refused(tmp_path):
    folder = small_model().save_pretrained(tmp_path / "model")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_processor_type": "ViTImageProcessor"}))
    config = load_config(folder)
    config.files.update(hash_files(folder))
    write_config(config, folder / "config.json")
    with pytest.raises(ConfigError, match=r"earlier version.*ViTImageProcessor.*bc-sam save"):
        pipeline("image-classification", model=str(folder), device="cpu")
