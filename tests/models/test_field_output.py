"""A folder of searched fields goes on with the same settings, model, scale and stain, and with no others."""

from dataclasses import replace

import pytest

from bc_sam.config.model import BCSamConfig
from bc_sam.data.appearance.magnification import Scale
from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.errors import BCSamError
from bc_sam.models.field_output import FieldFolder, stored_profile

PROFILE = AppearanceProfile(Scale(0.1, "red cells", 5), (1.0, 1.1, 0.9), 6)
SETTINGS = {"microns_per_pixel": None, "abstain": True}
CONFIG = BCSamConfig(files={"base/model.safetensors": "0" * 64})


@pytest.fixture
def folder(tmp_path):
    return FieldFolder(tmp_path / "out", SETTINGS, PROFILE, CONFIG).folder


def test_scale_and_stain_are_those_of_the_first_run(folder, tmp_path):
    assert stored_profile(folder, None) == PROFILE
    assert stored_profile(folder, 0.2) is None
    assert stored_profile(tmp_path / "new", None) is None


def test_the_same_run_goes_on(folder):
    FieldFolder(folder, SETTINGS, stored_profile(folder, None), CONFIG)


@pytest.mark.parametrize(
    ("settings", "files", "changed"),
    [
        (SETTINGS | {"abstain": False}, CONFIG.files, "abstain"),
        (SETTINGS, {"base/model.safetensors": "1" * 64}, "weights"),
    ],
)
def test_other_settings_and_other_weights_of_the_same_name_are_refused(folder, settings, files, changed):
    with pytest.raises(BCSamError, match=rf"other settings \({changed}\)"):
        FieldFolder(folder, settings, PROFILE, replace(CONFIG, files=files))
