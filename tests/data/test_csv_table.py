"""`read_csv` reads named columns."""

import os

import pytest

from bc_sam.data.csv_table import read_csv
from bc_sam.errors import DataError


@pytest.fixture
def write(tmp_path):
    def write_table(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content)
        return path

    return write_table


def test_the_given_columns_are_read(write):
    rows = read_csv(write(b"b,other,a\n1,2,3\n4,5,6\n"), ("a", "b"))
    assert rows == [{"a": "3", "b": "1"}, {"a": "6", "b": "4"}]


def test_a_byte_order_mark_is_ignored(write):
    assert read_csv(write(b"\xef\xbb\xbfa,b\r\n1,2\r\n"), ("a",)) == [{"a": "1"}]


def test_fields_that_a_row_lacks_are_empty(write):
    assert read_csv(write(b"a,b\n1\n"), ("a", "b")) == [{"a": "1", "b": ""}]


@pytest.mark.parametrize("content", [b"", b"a\n", b"a\n1\n"])
def test_a_missing_column_is_rejected(write, content):
    with pytest.raises(DataError, match=r"table\.csv has no column '.'. Its first line must read .,b"):
        read_csv(write(content), ("a", "b"))


@pytest.mark.parametrize("content", [b"a\n\xff\n", b"a\n" + b"x" * 200_000])
def test_an_unreadable_file_is_rejected(write, content):
    with pytest.raises(DataError, match=r"table\.csv cannot be read as CSV"):
        read_csv(write(content), ("a",))


def test_a_missing_file_is_rejected(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv cannot be read as CSV"):
        read_csv(tmp_path / "gone.csv", ("a",))


def test_a_pipe_is_rejected_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe\.csv is a folder or a device, not a CSV file"):
        read_csv(tmp_path / "pipe.csv", ("a",))
