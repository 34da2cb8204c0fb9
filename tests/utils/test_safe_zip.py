"""Archives are checked by their table of contents."""

import zipfile

import pytest

from bc_sam.errors import DataError, UntrustedFileError
from bc_sam.utils.safe_zip import check_paths, unpacked_size


@pytest.fixture
def archive(tmp_path):
    """Opens an archive of the given members, optionally with a false declared size."""

    def build(members, declared=None):
        with zipfile.ZipFile(tmp_path / "cells.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members:
                file.writestr(name, content)
            for member in file.infolist():
                member.file_size = declared or member.file_size
        return zipfile.ZipFile(tmp_path / "cells.zip")

    return build


def test_the_size_is_the_sum_over_all_members(archive):
    assert unpacked_size(archive([("a", b"123"), ("b", b"45")]), DataError) == 5


@pytest.mark.parametrize("error", [DataError, UntrustedFileError])
def test_a_zip_bomb_is_rejected(archive, error):
    with pytest.raises(error, match=r"cells\.zip would grow from \d{3} to 3221225472 bytes"):
        unpacked_size(archive([("a", b"123")], declared=3 * 2**30), error)


def test_high_compression_is_accepted_below_the_size_limit(archive):
    assert unpacked_size(archive([("a", b"123")], declared=2**28), DataError) == 2**28


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_names_are_rejected(archive):
    with pytest.raises(DataError, match="two files of the same name"):
        unpacked_size(archive([("a", b"good"), ("a", b"bad")]), DataError)


def test_too_many_members_are_rejected(archive):
    with pytest.raises(DataError, match="3 files, more than 2"):
        unpacked_size(archive([("a", b""), ("b", b""), ("c", b"")]), DataError, max_members=2)


@pytest.mark.parametrize("name", ["../cell.png", "/cell.png", "a/../../cell.png", "C:\\cell.png", "c:/cell.png"])
def test_a_path_outside_the_folder_is_rejected(archive, name):
    with pytest.raises(DataError, match="a path outside its folder"):
        check_paths(archive([(name, b"")]), DataError)


@pytest.mark.parametrize("name", ["slide 12:30.png", "patient: 1/cell.png", "a:1.png", "cell.png:stream"])
def test_a_colon_in_a_name_is_no_attack(archive, name):
    check_paths(archive([(name, b"")]), DataError)
