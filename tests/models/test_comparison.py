"""Comparison models are used, saved, loaded and shared like BC-SAM models."""

import json

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from small_model import small_sam
from small_network import CLASSES, VARIANTS, small_comparison

from bc_sam import load_model
from bc_sam.cli.models import describe
from bc_sam.config.labels import LABELS
from bc_sam.errors import ConfigError, ImageError, WeightsError
from bc_sam.models.comparison import ComparisonModel, with_attention

every_variant = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (70 + 5 * i, 90, 3), dtype=np.uint8) for i in range(5)]


@every_variant
def test_saving_and_loading_preserves_it(variant, tmp_path, images):
    model = small_comparison(variant)
    loaded = load_model(model.save_pretrained(tmp_path / "model"), device="cpu", dtype="float32")
    assert type(loaded) is ComparisonModel
    assert loaded.config.network == model.config.network
    np.testing.assert_array_equal(loaded.predict_proba(images), model.predict_proba(images))


@every_variant
def test_batches_and_single_images_agree(variant, images):
    model = small_comparison(variant)
    together = model.predict_proba(images, batch_size=5)
    alone = np.concatenate([model.predict_proba([image]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@every_variant
def test_probabilities_have_a_column_per_label(variant, images):
    model = small_comparison(variant)
    probabilities = model.predict_proba(images)
    assert probabilities.shape == (len(images), len(LABELS))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert not np.delete(probabilities, CLASSES, axis=1).any()
    assert model.predict(images) == [LABELS[column] for column in probabilities.argmax(axis=1)]


def test_allowed_labels_are_saved(tmp_path, images):
    model = small_comparison()
    some = [LABELS[label] for label in CLASSES[:2]]
    model.restrict_labels(some)
    loaded = load_model(model.save_pretrained(tmp_path / "model"), device="cpu", dtype="float32")
    assert not np.delete(loaded.predict_proba(images), CLASSES[:2], axis=1).any()
    assert set(loaded.config.allowed_labels) == set(some)


@every_variant
def test_embeddings_are_the_inputs_of_the_last_layer(variant, images):
    model = small_comparison(variant)
    latents = model.embed(images)
    assert latents.shape == (len(images), model.config.latent_dim)
    (head,) = model.classifiers.values()
    np.testing.assert_allclose(head.predict_proba(latents), model.predict_proba(images), atol=1e-6)


def test_calling_it_returns_the_format_of_transformers(images):
    answer = small_comparison()(images[0], top_k=2)
    assert [set(entry) for entry in answer] == [{"label", "score"}] * 2


def test_an_unreadable_image_is_reported_and_skipped(images):
    first, bad, last = small_comparison().stream([images[0], b"no image", images[1]])
    assert first.label in LABELS
    assert last.label in LABELS
    assert bad.label is None
    assert isinstance(bad.error, ImageError)


class TestAttention:
    @pytest.mark.parametrize("variant", ["slca", "shape-aware", "shape-aware on sam"])
    def test_has_the_size_of_each_image(self, variant, images):
        maps = small_comparison(variant).attention(images)
        assert [one.shape for one in maps] == [image.shape[:2] for image in images]
        assert all((one >= 0).all() and np.isfinite(one).all() for one in maps)

    def test_of_slca_is_between_zero_and_one(self, images):
        assert all(one.max() <= 1 for one in small_comparison("slca").attention(images))

    @pytest.mark.parametrize("variant", ["slca", "shape-aware"])
    def test_comes_with_the_labels_from_one_pass_of_sam(self, variant, images):
        model = small_comparison(variant)
        expected = model.predict(images), model.attention(images)
        passes = []
        model.sam.vision_encoder.layers[0].register_forward_hook(lambda *_: passes.append(1))
        labels, maps = model.predict_with_attention(images, batch_size=len(images))
        assert labels == expected[0]
        for ours, alone in zip(maps, expected[1], strict=True):
            np.testing.assert_array_equal(ours, alone)
        assert len(passes) == 1

    @pytest.mark.parametrize("variant", ["resnet", "slca without attention", "shape-aware without mask"])
    def test_missing_attention_is_an_error(self, variant, images):
        model = small_comparison(variant)
        with pytest.raises(ConfigError, match="no attention"):
            model.attention(images)
        with pytest.raises(ConfigError, match="--method slca"):
            with_attention(model)


def test_masks_are_predicted_only_with_a_fine_tuned_sam(images):
    masks = small_comparison("shape-aware").segment(images)
    assert [mask.shape for mask in masks] == [image.shape[:2] for image in images]
    for variant in ("slca", "resnet"):
        with pytest.raises(ConfigError, match="predicts no masks"):
            small_comparison(variant).segment(images)


def test_its_summary_names_method_and_backbone(tmp_path):
    model = small_comparison("shape-aware")
    text = describe(model.save_pretrained(tmp_path / "model"), model.config)
    for expected in ("method          shape-aware", "resnet, input 48 px", "custom SAM, included"):
        assert expected in text


class TestFolder:
    def test_contains_the_parts_of_the_method(self, tmp_path):
        parts = {
            variant: {path.name for path in small_comparison(variant).save_pretrained(tmp_path / variant).iterdir()}
            for variant in ("resnet", "slca")
        }
        assert parts["resnet"] == {"config.json", "preprocessor_config.json", "README.md", "network"}
        assert parts["slca"] == parts["resnet"] | {"base"}

    @pytest.mark.parametrize("name", ["network/model.safetensors", "base/model.safetensors", "base/config.json"])
    def test_a_changed_or_missing_file_is_reported(self, tmp_path, name):
        folder = small_comparison("slca").save_pretrained(tmp_path / "model")
        (folder / name).write_bytes((folder / name).read_bytes() + b" ")
        with pytest.raises(WeightsError, match=name):
            load_model(folder)
        (folder / name).unlink()
        with pytest.raises(WeightsError, match=f"{name} is missing"):
            load_model(folder)

    @pytest.mark.parametrize(
        "change",
        [
            {"image_backbone": {"family": "timm_backbone", "sizes": {}}},
            {"image_backbone": {"family": "resnet", "sizes": {"hidden_sizes": [10**9]}}},
            {"image_backbone": {"family": "resnet", "sizes": {}, "auto_map": "evil.Evil"}},
            {"method": "exec"},
            {"classes": [0, 99]},
            {"trust_remote_code": True},
            {"input_size": 10**9},
        ],
    )
    def test_a_malicious_config_is_rejected(self, tmp_path, change):
        folder = small_comparison("slca").save_pretrained(tmp_path / "model")
        config = json.loads((folder / "config.json").read_text())
        config["network"] |= change
        del config["digest"]
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigError, match=r"config\.json"):
            load_model(folder)

    def test_refit_is_rejected(self, tmp_path):
        folder = small_comparison("resnet").save_pretrained(tmp_path / "model")
        with pytest.raises(ConfigError, match="no classifiers"):
            load_model(folder, refit=True)


class TestHub:
    def test_it_is_pushed_with_a_card_and_loaded_again(self, hub, repo_id, images):
        model = small_comparison("shape-aware")
        model.push_to_hub(repo_id)
        loaded = load_model(repo_id, device="cpu", dtype="float32")
        np.testing.assert_array_equal(loaded.predict_proba(images), model.predict_proba(images))
        card = ModelCard.load(repo_id)
        assert card.data.pipeline_tag == "image-classification"
        assert "shape-aware" in card.data.tags
        assert "lora" not in card.data.tags
        assert "wang2023shape" in card.content

    def test_a_sam_of_the_hub_is_included_on_request_only(self, hub, repo_id, tmp_path, images):
        small_sam().push_to_hub(repo_id)
        model = small_comparison("slca", base=repo_id, base_revision="main", base_inside=False)
        folder = model.save_pretrained(tmp_path / "model")
        assert not (folder / "base").exists()
        loaded = load_model(folder, device="cpu", dtype="float32")
        np.testing.assert_allclose(loaded.predict_proba(images), model.predict_proba(images), atol=1e-6)
        assert (loaded.save_pretrained(tmp_path / "stick", include_base=True) / "base" / "model.safetensors").exists()


@every_variant
def test_every_card_describes_its_method(variant, tmp_path):
    card = (small_comparison(variant).save_pretrained(tmp_path / "model") / "README.md").read_text()
    assert "not a medical device" in card
    assert "autoencoder compresses" not in card
    assert "skops" not in card
    assert ("segment(" in card) == (variant.startswith("shape-aware") and "without mask" not in variant)


class TestDevice:
    """Uses the meta device as a non-default device that every machine has."""

    @pytest.mark.parametrize("variant", ["resnet", "slca"])
    def test_every_part_is_built_on_the_requested_device(self, variant):
        model = small_comparison(variant, device="meta")
        assert model.device == torch.device("meta")
        assert devices(model) == {"meta"}

    @pytest.mark.parametrize("variant", ["resnet", "slca"])
    def test_every_part_can_be_moved(self, variant):
        model = small_comparison(variant)
        assert devices(model) == {"cpu"}
        model.to("meta")
        assert devices(model) == {"meta"}


def devices(model):
    parts = [model.network, *([model.sam] if model.sam else [])]
    return {parameter.device.type for part in parts for parameter in part.parameters()}
