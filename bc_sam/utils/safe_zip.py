"""Checks of untrusted zip archives by their table of contents, before anything is unpacked."""

import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from bc_sam.errors import BCSamError

# Compression ratios are 3:1 for images (Matek-19) and 7:1 for a classifier (a forest fitted on 17,000 cells: 68 MB).
# 100:1 above this size is a zip bomb.
_UNCHECKED_BYTES = 256 * 2**20
_MAX_RATIO = 100
_MAX_MEMBERS = 2**20


def unpacked_size(archive: zipfile.ZipFile, error: type[BCSamError], *, max_members: int = _MAX_MEMBERS) -> int:
    """Returns the declared uncompressed size of an archive in bytes, beyond which `zipfile` unpacks nothing.

    Args:
        archive: Archive opened by path. Its members are not read.
        error: Exception class to raise.
        max_members: Maximum number of files.

    Raises:
        BCSamError: Of class `error`, if the compression ratio or the number of files is too high, or a name occurs
            twice, so that two readers could see different contents.
    """
    members = archive.infolist()
    packed = Path(str(archive.filename)).stat().st_size
    total = sum(member.file_size for member in members)
    if total > max(_UNCHECKED_BYTES, _MAX_RATIO * packed):
        raise error(f"{archive.filename} would grow from {packed} to {total} bytes when unpacked. Do not trust it.")
    if len(members) > max_members:
        raise error(f"{archive.filename} contains {len(members)} files, more than {max_members}. Do not trust it.")
    if len(set(archive.namelist())) < len(members):
        raise error(f"{archive.filename} contains two files of the same name. Do not trust it.")
    return total


def check_paths(archive: zipfile.ZipFile, error: type[BCSamError]) -> None:
    """Checks that no member would be written outside the destination folder.

    Args:
        archive: Open archive.
        error: Exception class to raise.

    Raises:
        BCSamError: Of class `error`, if one would.
    """
    for member in archive.infolist():
        name = PurePosixPath(member.filename.replace("\\", "/"))
        # A colon elsewhere, as in "slide 12:30.png", is part of a name; `zipfile` replaces it on Windows.
        if name.is_absolute() or ".." in name.parts or PureWindowsPath(member.filename).is_absolute():
            raise error(
                f"{archive.filename} contains {member.filename!r}, a path outside its folder. Do not trust it."
            )
