"""The configuration of scale and light, in models and runs; what was saved before it existed is not normalized."""

import json
from dataclasses import replace

import pytest

from bc_sam.config.arguments import AdaptationArguments, TrainingArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.errors import ConfigError
from bc_sam.models.training_record import TrainingRecord
from bc_sam.training.experiment import RunConfig
from bc_sam.utils.model_source import EMBEDDED_FOLDER

OWN = NormalizationConfig(field_of_view=24.0, stain=False)


@pytest.mark.parametrize("microns", [5.0, 20.0, 200.0])
def test_fields_of_view_of_single_cells_are_accepted(microns):
    assert NormalizationConfig(microns).field_of_view == microns


@pytest.mark.parametrize("microns", [0.0, -20.0, 4.9, 201.0, float("nan")])
def test_other_fields_of_view_are_rejected(microns):
    with pytest.raises(ConfigError, match="field_of_view must be between 5 and 200 µm"):
        NormalizationConfig(microns)


@pytest.mark.parametrize("normalization", [OWN, None])
@pytest.mark.parametrize("make", [BCSamConfig, TrainingArguments])
def test_it_round_trips_through_a_file(make, normalization, tmp_path):
    config = make(normalization=normalization)
    config.save(tmp_path / "config.json")
    assert type(config).load(tmp_path / "config.json") == config


def test_a_model_without_it_can_be_read_by_older_versions():
    assert "normalization" not in BCSamConfig().to_dict()
    assert BCSamConfig(normalization=OWN).to_dict()["normalization"] == {"field_of_view": 24.0, "stain": False}


def test_models_are_normalized_only_if_their_config_says_so():
    assert BCSamConfig().normalization is None
    assert BCSamConfig.from_dict({}).normalization is None


def test_new_runs_are_normalized():
    assert TrainingArguments().normalization == NormalizationConfig()


def without_key(arguments):
    data = json.loads(json.dumps(arguments.to_dict()))
    del data["normalization"]
    return data


def test_runs_from_before_it_existed_are_not(tmp_path):
    """Resuming one must not change its cells."""
    assert TrainingArguments.from_dict(without_key(TrainingArguments())).normalization is None
    run = RunConfig(("ours=cells",)).to_dict() | {"arguments": without_key(TrainingArguments())}
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert RunConfig.load(tmp_path / "run.json").arguments == replace(TrainingArguments(), normalization=None)
    assert AdaptationArguments.from_dict({"training": {}}).training.normalization is None


def test_the_record_of_a_model_from_before_it_existed_says_so():
    path = EMBEDDED_FOLDER / "training.json"
    recorded = "normalization" in json.loads(path.read_text())["arguments"]
    assert (TrainingRecord.load(path).arguments.normalization is not None) == recorded


def test_single_settings_can_be_changed():
    changed = TrainingArguments().updated({"normalization": {"field_of_view": 24.0}})
    assert changed.normalization == NormalizationConfig(field_of_view=24.0)
    assert TrainingArguments().updated({"seed": 2}).normalization == NormalizationConfig()
    assert TrainingArguments().updated({"normalization": None}).normalization is None
