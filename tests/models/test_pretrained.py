"""Models are written in the current format, whatever they were read from."""

from dataclasses import replace

from every_model import every_model

from bc_sam.config.model import FORMAT_VERSION
from bc_sam.models.folder import load_config


@every_model
def test_a_model_of_an_older_format_is_saved_in_the_current_one(make, tmp_path):
    model = make()
    model.config = replace(model.config, format_version=1)
    assert load_config(model.save_pretrained(tmp_path / "model")).format_version == FORMAT_VERSION
