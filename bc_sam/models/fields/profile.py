"""The scale and stain that fields of one microscope share, and whether a field can be searched by them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bc_sam.data.appearance.profile import AppearanceProfile
from bc_sam.data.appearance.resolution_tags import read_resolution_tag
from bc_sam.data.fields.sources import open_field
from bc_sam.data.fields.survey import FieldSurvey, fields_profile, glass_share, survey_field
from bc_sam.data.preparation import require_pixel_size, sample_evenly
from bc_sam.errors import ImageError

#: Maximum number of fields measured for their common scale and stain.
FIELD_SAMPLE = 20

# A field with less glass than this is no smear, or its colours are inverted.
_LEAST_GLASS = 0.03

# Every stain of a smear absorbs green. Where both red and blue are so much brighter than green in what is brightest,
# and there are no red cells, that is no glass, but stained, as in a section of tissue.
_MOST_STAINED = 1.1

# A field is a picture in shades of grey if the channels of at least this share of its pixels differ by less than this.
_GREY_SHARE, _GREY_LEVELS = 0.999, 3


def profile_fields(sources: Sequence[Any], microns_per_pixel: float | None = None) -> AppearanceProfile | None:
    """Estimates the scale and stain that fields of one microscope share, from at most 20 of them.

    Args:
        sources: Fields; unreadable ones are skipped.
        microns_per_pixel: Their pixel size, µm, if known.

    Returns:
        The profile; ``None`` if no field can be read.

    Raises:
        ConfigError: If the pixel size is not plausible.
    """
    require_pixel_size(microns_per_pixel)
    surveys, tags = [], []
    for index in sample_evenly(len(sources), FIELD_SAMPLE):
        try:
            with open_field(sources[index]) as field:
                surveys.append(survey_field(field))
                microns_per_pixel = microns_per_pixel or field.microns_per_pixel
        except ImageError:  # reported when it is searched
            continue
        tags.append(read_resolution_tag(sources[index]))
    return fields_profile(surveys, microns_per_pixel=microns_per_pixel, tags=tags) if surveys else None


def field_problem(survey: FieldSurvey, profile: AppearanceProfile) -> str:
    """Returns why a field cannot be searched; empty if it can."""
    white = survey.measurement.white
    if all(_is_grey(window) for window in survey.windows):
        return "It has no colours, which tell nuclei from red cells. Give a photograph of a stained smear in colour."
    red, green, blue = white
    stained = min(red, blue) > _MOST_STAINED * green and survey.measurement.red_cell_px is None
    if stained or max(glass_share(window, white) for window in survey.windows) < _LEAST_GLASS:
        return (
            "No glass is visible between the cells. It may be a section of tissue, or its colours are inverted. Give "
            "a photograph of a smear with a bright background."
        )
    if profile.scale.microns_per_pixel is None:
        return (
            "The scale could not be measured, because too few red cells were found: the field may be empty, out of "
            f"focus, or no smear. {profile.scale.reason} If it is a smear, give --microns-per-pixel."
        )
    return ""


def _is_grey(window: NDArray[np.uint8]) -> bool:
    """Whether a window (H, W, 3) uint8 shows stain, but no colours."""
    spread = np.ptp(window.astype(np.int16), axis=2)
    return bool((spread < _GREY_LEVELS).mean() > _GREY_SHARE) and bool(np.ptp(window) > _GREY_LEVELS)
