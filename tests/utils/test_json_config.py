"""A JSON file may come from anybody; what is wrong with it is said of the file by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.errors import ConfigError
from bc_sam.utils import json_config as serialisation
from bc_sam.utils.json_config import read_json

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_what_was_written_is_read(tmp_path, data):
    (tmp_path / "some.json").write_text(json.dumps(data))
    assert read_json(tmp_path / "some.json") == data


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_refused(tmp_path, opening):
    (tmp_path / "deep.json").write_text(opening * 100_000)
    with pytest.raises(ConfigError, match=r"deep\.json cannot be read as JSON"):
        read_json(tmp_path / "deep.json")


def test_a_number_of_a_million_digits_is_refused(tmp_path):
    (tmp_path / "long.json").write_text("1" * 10**6)
    with pytest.raises(ConfigError, match=r"long\.json cannot be read as JSON"):
        read_json(tmp_path / "long.json")


def test_a_file_larger_than_any_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(serialisation, "_MAX_BYTES", 10)
    (tmp_path / "good.json").write_text("[1, 2, 3]")
    (tmp_path / "large.json").write_text("[1, 2, 3, 4]")
    assert read_json(tmp_path / "good.json") == [1, 2, 3]
    with pytest.raises(ConfigError, match=r"large\.json has more than 10 bytes"):
        read_json(tmp_path / "large.json")


def test_a_device_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr(serialisation, "_MAX_BYTES", 1000)
    with pytest.raises(ConfigError, match=r"/dev/zero has more"):
        read_json("/dev/zero")
