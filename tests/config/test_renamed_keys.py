"""Configs of older versions load: renamed keys are accepted under their former names."""

import json

import pytest

from bc_sam.config.arguments import AdaptationArguments, PretrainingArguments, TrainingArguments, ViewArguments
from bc_sam.config.network import NetworkArguments
from bc_sam.models.training_record import TrainingRecord
from bc_sam.utils.model_source import EMBEDDED_FOLDER


@pytest.mark.parametrize(
    ("config_class", "former", "current", "value"),
    [
        (ViewArguments, "surroundings", "background_stain_prob", 0.25),
        (PretrainingArguments, "evenness", "sampling_temperature", 0.25),
        (PretrainingArguments, "teaching", "distillation_weight", 0.25),
        (NetworkArguments, "left_out", "ablation", "attention"),
        (AdaptationArguments, "among", "allowed_labels", ("monocyte",)),
    ],
)
def test_a_former_key_sets_the_renamed_field(config_class, former, current, value):
    config = config_class.from_dict({former: value})
    assert getattr(config, current) == value
    assert former not in config.to_dict()


def test_former_keys_of_a_nested_config_are_accepted():
    arguments = PretrainingArguments.from_dict({"view": {"surroundings": 0.25}})
    assert arguments.view.background_stain_prob == 0.25


def test_a_training_record_with_a_former_key_loads(tmp_path):
    """As in the models saved when `ablation` was called `left_out`."""
    record = (EMBEDDED_FOLDER / "training.json").read_text()
    assert '"ablation"' in record
    path = tmp_path / "training.json"
    path.write_text(record.replace('"ablation"', '"left_out"'))
    assert TrainingRecord.load(path) == TrainingRecord.load(EMBEDDED_FOLDER / "training.json")


def test_training_arguments_of_an_older_version_load():
    data = TrainingArguments().to_dict()
    data["network"]["left_out"] = data["network"].pop("ablation")
    assert TrainingArguments.from_dict(json.loads(json.dumps(data))) == TrainingArguments()
