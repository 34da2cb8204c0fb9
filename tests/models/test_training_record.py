"""Training records are round-tripped through files."""

from dataclasses import replace

import pytest

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.presets import preset
from bc_sam.data.datasets.acevedo import ACEVEDO20
from bc_sam.errors import ConfigError
from bc_sam.models.training_record import DataRecord, TrainingRecord


@pytest.mark.parametrize("arguments", [TrainingArguments(), preset("tiny")])
def test_a_record_is_preserved(tmp_path, arguments):
    data = (
        DataRecord("ours", 10, 4, 2, unreadable=1, hub_id="lab/ours"),
        DataRecord("b", 1, 1, 0, provenance=ACEVEDO20),
    )
    record = TrainingRecord(arguments, data)
    record.save(tmp_path / "training.json")
    assert TrainingRecord.load(tmp_path / "training.json") == record


def test_an_unknown_field_is_rejected():
    data = TrainingRecord(TrainingArguments(), ()).to_dict() | {"path": "/home/someone"}
    with pytest.raises(ConfigError, match="path"):
        TrainingRecord.from_dict(data)


def test_provenance_fields_are_optional():
    record = DataRecord("b", 1, 1, 0, provenance=replace(ACEVEDO20, stain="", bibtex=""))
    assert DataRecord.from_dict(record.to_dict()) == record
