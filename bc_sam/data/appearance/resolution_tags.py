"""The pixel size stated in a file: OME metadata, XResolution and ResolutionUnit of a TIFF, PixelSpacing of DICOM."""

import html
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bc_sam.data.images import read_dicom_spacing, read_tiff_tags

# Numbers of the TIFF tags.
_IMAGE_DESCRIPTION, _X_RESOLUTION, _RESOLUTION_UNIT = 270, 282, 296

# Micrometres per unit of ResolutionUnit and of OME's PhysicalSizeXUnit. The default unit of OME is µm.
_TIFF_UNITS = {2: 25_400.0, 3: 10_000.0}
_OME_UNITS = {"": 1.0, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}

# Dots per inch that programs write when the resolution is unknown.
_DISPLAY_DPI = (72, 96)

_OME_SIZE = re.compile(r'\bPhysicalSizeX="([0-9.eE+-]{1,32})"')
_OME_UNIT = re.compile(r'\bPhysicalSizeXUnit="([^"]{0,8})"')
_LONGEST_DESCRIPTION = 100_000


@dataclass(frozen=True)
class ResolutionTag:
    """The resolution stated in a file.

    Attributes:
        microns_per_pixel: Stated pixel size, µm; positive and finite, but not necessarily correct.
        text: The resolution in its original unit, such as ``"72 dpi"``.
        is_display_default: Whether it is the 72 or 96 dpi of a display, and thus no measurement.
    """

    microns_per_pixel: float
    text: str
    is_display_default: bool = False


def read_resolution_tag(source: Any) -> ResolutionTag | None:
    """Reads the pixel size stated in an image file.

    Args:
        source: As for `bc_sam.data.images.read_image`.

    Returns:
        The resolution in the OME metadata if present, else that of the baseline tags, or that of a DICOM file;
        ``None`` if there is none, or the file is neither or unreadable. The value is not validated here; see
        `bc_sam.data.appearance.magnification.domain_scale`.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (8, 8)).save(file, "TIFF", x_resolution=100_000, y_resolution=100_000, resolution_unit=3)
        >>> read_resolution_tag(file.getvalue())
        ResolutionTag(microns_per_pixel=0.1, text='100000 per cm', is_display_default=False)
    """
    tags = read_tiff_tags(source, (_IMAGE_DESCRIPTION, _X_RESOLUTION, _RESOLUTION_UNIT))
    description = str(tags.get(_IMAGE_DESCRIPTION, ""))[:_LONGEST_DESCRIPTION]
    # OME writes UTF-8 or XML escapes into a tag that Pillow decodes as Latin-1.
    description = html.unescape(description.encode("latin-1", "ignore").decode("utf-8", "ignore"))
    return _ome_tag(description) or _baseline_tag(tags) or _dicom_tag(source)


def _ome_tag(description: str) -> ResolutionTag | None:
    size, unit = _OME_SIZE.search(description), _OME_UNIT.search(description)
    name = unit.group(1) if unit else ""
    value = _positive(size.group(1)) if size else None
    if value is None or name not in _OME_UNITS:
        return None
    return ResolutionTag(value * _OME_UNITS[name], f"PhysicalSizeX {value:g} {name or 'µm'}")


def _baseline_tag(tags: Mapping[int, Any]) -> ResolutionTag | None:
    unit = tags.get(_RESOLUTION_UNIT, 2)  # inches are the default of the format
    dots = _positive(tags.get(_X_RESOLUTION))
    if dots is None or unit not in _TIFF_UNITS:
        return None
    dpi = dots * _TIFF_UNITS[2] / _TIFF_UNITS[unit]
    text = f"{dots:g} dpi" if unit == 2 else f"{dots:.10g} per cm"
    return ResolutionTag(_TIFF_UNITS[unit] / dots, text, any(abs(dpi - default) < 1 for default in _DISPLAY_DPI))


def _dicom_tag(source: Any) -> ResolutionTag | None:
    spacing = _positive(read_dicom_spacing(source))
    return None if spacing is None else ResolutionTag(spacing * 1000, f"PixelSpacing {spacing:g} mm")


def _positive(value: Any) -> float | None:
    """Parses a positive finite number; returns ``None`` for anything else, such as a fraction with denominator 0."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 and math.isfinite(1 / number) else None
