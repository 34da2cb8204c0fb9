"""Settings that older versions wrote are read under their former names."""

import json

import pytest

from bc_sam.config.arguments import AdaptationArguments, PretrainingArguments, TrainingArguments, ViewArguments
from bc_sam.config.network import NetworkArguments
from bc_sam.models.training_record import TrainingRecord
from bc_sam.utils.hub import EMBEDDED_FOLDER


@pytest.mark.parametrize(
    ("kind", "former", "current", "value"),
    [
        (ViewArguments, "surroundings", "background_stain_prob", 0.25),
        (PretrainingArguments, "evenness", "sampling_temperature", 0.25),
        (PretrainingArguments, "teaching", "distillation_weight", 0.25),
        (NetworkArguments, "left_out", "ablation", "attention"),
        (AdaptationArguments, "among", "allowed_labels", ("monocyte",)),
    ],
)
def test_a_former_name_stands_for_the_current_one(kind, former, current, value):
    read = kind.from_dict({former: value})
    assert getattr(read, current) == value
    assert former not in read.to_dict()


def test_the_view_of_a_pretraining_is_read_too():
    read = PretrainingArguments.from_dict({"view": {"surroundings": 0.25}})
    assert read.view.background_stain_prob == 0.25


def test_the_record_of_the_embedded_model_is_read():
    """It was written when an ablation was called `left_out`."""
    path = EMBEDDED_FOLDER / "training.json"
    assert "left_out" in path.read_text()
    record = TrainingRecord.load(path)
    assert record.arguments.network.ablation == "nothing"


def test_a_run_file_of_an_older_version_is_read():
    data = TrainingArguments().to_dict()
    data["network"]["left_out"] = data["network"].pop("ablation")
    assert TrainingArguments.from_dict(json.loads(json.dumps(data))) == TrainingArguments()
