"""Zip archives from strangers: refused by their table of contents, before anything in them is unpacked."""

import zipfile
from pathlib import Path, PurePosixPath

from bc_sam.errors import BCSamError

# A zip of images holds them nearly uncompressed (Matek-19: 3 to 1), one of a classifier 7 to 1 (a forest of 17,000
# cells: 68 MB); 100 to 1 above this size is a bomb.
_FREE_BYTES = 256 * 2**20
_MAX_RATIO = 100
_MAX_MEMBERS = 2**20


def unpacked_size(archive: zipfile.ZipFile, error: type[BCSamError], *, max_members: int = _MAX_MEMBERS) -> int:
    """Returns how many bytes an archive holds, which is all that `zipfile` will ever unpack of it.

    Args:
        archive: Opened by its path. Of its members nothing is read.
        error: What to raise.
        max_members: Most files that it may hold.

    Raises:
        BCSamError: Of the given class, if it is far larger than its file, or names a member twice, so that two
            readers could see different contents.
    """
    members = archive.infolist()
    packed = Path(str(archive.filename)).stat().st_size
    total = sum(member.file_size for member in members)
    if total > max(_FREE_BYTES, _MAX_RATIO * packed):
        raise error(f"{archive.filename} would grow from {packed} to {total} bytes. Do not trust it.")
    if len(members) > max_members:
        raise error(f"{archive.filename} holds {len(members)} files, more than {max_members}. Do not trust it.")
    if len(set(archive.namelist())) < len(members):
        raise error(f"{archive.filename} holds two files of the same name. Do not trust it.")
    return total


def check_paths(archive: zipfile.ZipFile, error: type[BCSamError]) -> None:
    """Checks that no member would be written outside the folder that the archive is unpacked to.

    Raises:
        BCSamError: Of the given class, if one would.
    """
    for member in archive.infolist():
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
            raise error(f"{archive.filename} holds {member.filename!r}, a path outside itself. Do not trust it.")
