"""The image formats that are read."""

from collections.abc import Mapping
from types import MappingProxyType

from bc_sam.utils.extras import install_command

#: Pillow's decoders that may run, and the lower-case file-name suffixes of each. No other decoder may run, so that a
#: crafted file cannot reach one of Pillow's forty others.
PILLOW_FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "BMP": (".bmp",),
        "GIF": (".gif",),
        "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
        "PNG": (".png",),
        "TIFF": (".tif", ".tiff"),
        "WEBP": (".webp",),
    }
)

#: Formats that need a package of the extra ``formats``, and their suffixes.
EXTRA_FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType({"DICOM": (".dcm",), "HEIF": (".heic", ".heif")})

#: All supported formats and their lower-case file-name suffixes.
IMAGE_FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType({**PILLOW_FORMATS, **EXTRA_FORMATS})

#: How to install the packages of `EXTRA_FORMATS`, and the codecs of rarer TIFF files.
INSTALL = f"Install it: {install_command('pydicom')}"
