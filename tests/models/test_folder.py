"""Model folders are verified when loaded and replaced atomically."""

import json
import re
from dataclasses import replace

import pytest

from bc_sam.cli.models import describe
from bc_sam.config.model import BCSamConfig
from bc_sam.errors import ConfigError, WeightsError
from bc_sam.models.folder import (
    check_files,
    hash_files,
    load_config,
    model_digest,
    write_config,
)

FILES = (
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "autoencoder/model.safetensors",
    "base/config.json",
    "base/model.safetensors",
    "classifiers/rf.skops",
)


@pytest.fixture
def folder(tmp_path):
    """A folder with the files of a model, of which only the hashes are valid."""
    for name in (*FILES, "README.md", "figures/confusion.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"content of {name}")
    return tmp_path


@pytest.fixture
def config(folder):
    return BCSamConfig(classifiers={"rf": (0, 1)}, default_classifier="rf", files=hash_files(folder))


class TestIntegrity:
    def test_editable_files_are_not_hashed(self, config):
        assert set(config.files) == set(FILES)

    def test_an_intact_folder_passes(self, folder, config):
        check_files(folder, config)

    def test_the_digest_of_a_model_is_that_of_its_content_and_not_of_its_export(self, folder, config):
        (folder / "onnx").mkdir()
        (folder / "onnx" / "networks.onnx").touch()
        exported = replace(config, files=hash_files(folder))
        assert set(exported.files) > set(config.files)
        assert model_digest(exported) == model_digest(config)
        (folder / FILES[-1]).write_text("another")
        assert model_digest(replace(config, files=hash_files(folder))) != model_digest(config)

    @pytest.mark.parametrize("name", FILES)
    def test_a_changed_file_is_reported(self, folder, config, name):
        (folder / name).write_text("something else")
        with pytest.raises(WeightsError, match=rf"{name} is not the file that was saved"):
            check_files(folder, config)

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file_is_reported(self, folder, config, name):
        (folder / name).unlink()
        with pytest.raises(WeightsError, match=rf"{name} is missing"):
            check_files(folder, config)

    @pytest.mark.parametrize("name", FILES)
    def test_every_part_must_be_listed(self, folder, config, name):
        files = {file: digest for file, digest in config.files.items() if file != name}
        with pytest.raises(WeightsError, match=rf"does not list {name}"):
            check_files(folder, replace(config, files=files))

    def test_a_base_on_the_hub_is_not_required(self, folder, config):
        files = {name: digest for name, digest in config.files.items() if not name.startswith("base/")}
        check_files(folder, replace(config, files=files, base="org/sam", base_inside=False))


class TestConfig:
    def test_a_folder_without_one_is_not_a_model(self, tmp_path):
        with pytest.raises(WeightsError, match="not a bc_sam model"):
            load_config(tmp_path)

    def test_a_newer_format_suggests_an_upgrade(self, tmp_path):
        replace(BCSamConfig(), format_version=99).save(tmp_path / "config.json")
        with pytest.raises(WeightsError, match=r"pip install -U \."):
            load_config(tmp_path)

    def test_it_is_read_as_it_was_written(self, tmp_path, caplog):
        config = BCSamConfig(latent_dim=7, allowed_labels=("monocyte",))
        write_config(config, tmp_path / "config.json")
        assert load_config(tmp_path) == config
        assert not caplog.records

    def test_no_change_after_saving_goes_unnoticed(self, tmp_path):
        path = tmp_path / "config.json"
        write_config(BCSamConfig(), path)
        saved = path.read_text()
        for old, new in (("215.0322", "115.0322"), ('"svm_rbf"', '"rf"'), ('"latent_dim": 50', '"latent_dim": 51')):
            path.write_text(saved.replace(old, new))
            with pytest.raises(WeightsError, match="modified or damaged"):
                load_config(tmp_path)
        path.write_text(json.dumps(json.loads(saved)))  # another layout is no change
        assert load_config(tmp_path) == BCSamConfig()

    def test_a_config_of_an_earlier_version_has_no_digest_and_is_reported(self, tmp_path, caplog):
        BCSamConfig().save(tmp_path / "config.json")
        assert load_config(tmp_path) == BCSamConfig()
        assert "has no digest" in caplog.text

    @pytest.mark.parametrize(
        "content", ["", "[]", "3", '{"format_version": "new"}', "{}", '{"format_version": 1, "labels": 7}', "{"]
    )
    def test_invalid_content_is_reported_with_the_file(self, tmp_path, content):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises((ConfigError, WeightsError), match=r"config\.json"):
            load_config(tmp_path)


def test_its_summary_lists_every_part_and_its_size(folder, config):
    text = describe(folder, replace(config, base="org/sam", base_revision="abc", domains=("north", "south")))
    for expected in ("north, south", "org/sam at abc", "classifiers     rf", "adapter 0.0 MB", "base 0.0 MB"):
        assert expected in text


def test_its_summary_mentions_the_pictures_inside(folder, config):
    assert re.search("pictures inside +none", describe(folder, config))
