"""Saved models are located and verified, and configs of older versions are supported."""

import json

import numpy as np
import pytest
from small_model import small_model
from small_network import small_comparison

from bc_sam import load_model
from bc_sam.errors import ConfigError, WeightsError
from bc_sam.models.stored_model import StoredModel

CELLS = [np.random.default_rng(n).integers(0, 256, (70, 90, 3), np.uint8) for n in range(3)]


@pytest.fixture
def folder(tmp_path):
    return small_model().save_pretrained(tmp_path / "model")


def rewrite(folder, change):
    config = json.loads((folder / "config.json").read_text())
    del config["digest"]  # as in a model of an earlier version
    (folder / "config.json").write_text(json.dumps(change(config)))


def test_options_have_defaults(folder):
    stored = StoredModel.open(folder)
    assert (stored.folder, stored.precision, stored.classifiers, stored.refit) == (folder, "auto", None, False)
    assert (stored.evaluation, stored.record) == (None, None)


def test_a_changed_file_is_detected_before_any_is_opened(folder):
    with (folder / "autoencoder" / "model.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(WeightsError, match=r"autoencoder/model\.safetensors is not the file that was saved"):
        StoredModel.open(folder)


class TestConfigsOfOlderVersions:
    @pytest.mark.parametrize("make", [small_model, small_comparison])
    def test_allowed_labels_are_read_under_their_former_key(self, make, tmp_path):
        model = make()
        allowed = [model.labels[0], model.labels[3]]
        model.restrict_labels(allowed)
        folder = model.save_pretrained(tmp_path / "old")
        rewrite(folder, lambda config: config | {"among": config.pop("allowed_labels")})
        loaded = load_model(folder, device="cpu", dtype="float32")
        assert loaded.config.allowed_labels == tuple(allowed)
        np.testing.assert_array_equal(loaded.predict_proba(CELLS), model.predict_proba(CELLS))

    def test_saving_writes_the_current_key(self, tmp_path):
        model = small_model()
        model.restrict_labels(model.labels[:4])
        folder = model.save_pretrained(tmp_path / "old")
        rewrite(folder, lambda config: config | {"among": config.pop("allowed_labels")})
        saved = json.loads((load_model(folder).save_pretrained(tmp_path / "new") / "config.json").read_text())
        assert saved["allowed_labels"] == list(model.labels[:4])
        assert "among" not in saved

    def test_without_a_restriction_neither_key_is_written(self, folder):
        assert not {"among", "allowed_labels"} & json.loads((folder / "config.json").read_text()).keys()

    def test_both_keys_at_once_are_rejected(self, folder):
        rewrite(folder, lambda config: config | {"among": [], "allowed_labels": []})
        with pytest.raises(ConfigError, match=r"config\.json: among was renamed to allowed_labels"):
            StoredModel.open(folder)

    def test_an_unknown_allowed_label_is_rejected(self, folder):
        rewrite(folder, lambda config: config | {"among": ["platelet"]})
        with pytest.raises(ConfigError, match="allowed_labels contains labels that the model does not have: platelet"):
            StoredModel.open(folder)
