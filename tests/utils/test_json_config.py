"""JSON files may be untrusted: invalid ones are rejected with the name of the file."""

import json
import os
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.errors import ConfigError
from bc_sam.utils import json_config
from bc_sam.utils.json_config import JsonConfig, read_json

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_json_round_trips(tmp_path, data):
    (tmp_path / "some.json").write_text(json.dumps(data))
    assert read_json(tmp_path / "some.json") == data


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_rejected(tmp_path, opening):
    (tmp_path / "deep.json").write_text(opening * 100_000)
    with pytest.raises(ConfigError, match=r"deep\.json cannot be read as JSON"):
        read_json(tmp_path / "deep.json")


def test_a_number_with_a_million_digits_is_rejected(tmp_path):
    (tmp_path / "long.json").write_text("1" * 10**6)
    with pytest.raises(ConfigError, match=r"long\.json cannot be read as JSON"):
        read_json(tmp_path / "long.json")


def test_a_file_above_the_size_limit_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(json_config, "_MAX_BYTES", 10)
    (tmp_path / "good.json").write_text("[1, 2, 3]")
    (tmp_path / "large.json").write_text("[1, 2, 3, 4]")
    assert read_json(tmp_path / "good.json") == [1, 2, 3]
    with pytest.raises(ConfigError, match=r"large\.json has more than 10 bytes"):
        read_json(tmp_path / "large.json")


def test_an_endless_device_is_rejected(monkeypatch):
    monkeypatch.setattr(json_config, "_MAX_BYTES", 1000)
    with pytest.raises(ConfigError, match=r"/dev/zero is a folder or a device"):
        read_json("/dev/zero")


@dataclass(frozen=True)
class Lens(JsonConfig):
    renamed_keys: ClassVar = {"zoom": "magnification", "light": "brightness"}

    magnification: int = 40
    brightness: float = 1.0


@dataclass(frozen=True)
class Microscope(JsonConfig):
    name: str = "upright"
    lens: Lens = field(default_factory=Lens)
    spare: list[Lens] = field(default_factory=list)


class TestRenamedKeys:
    def test_a_former_key_is_accepted(self):
        assert Lens.from_dict({"zoom": 100}) == Lens(magnification=100)

    def test_former_keys_of_nested_configs_are_accepted(self):
        old = {"lens": {"zoom": 100}, "spare": [{"light": 0.5}]}
        assert Microscope.from_dict(old) == Microscope(lens=Lens(100), spare=[Lens(brightness=0.5)])

    def test_only_the_current_key_is_written(self):
        assert Microscope.from_dict({"lens": {"zoom": 100}}).to_dict()["lens"] == {
            "magnification": 100,
            "brightness": 1.0,
        }

    def test_a_file_with_former_keys_loads(self, tmp_path):
        (tmp_path / "microscope.json").write_text('{"lens": {"zoom": 63}}')
        assert Microscope.load(tmp_path / "microscope.json").lens.magnification == 63

    def test_the_value_under_a_former_key_is_validated(self):
        with pytest.raises(ConfigError, match="magnification: Input should be a valid integer"):
            Lens.from_dict({"zoom": "far"})

    def test_giving_both_names_is_rejected(self):
        with pytest.raises(ConfigError, match=r"old\.json: zoom was renamed to magnification, but both are given"):
            Microscope.from_dict({"lens": {"zoom": 100, "magnification": 40}}, where="old.json")

    def test_unknown_keys_are_rejected(self):
        with pytest.raises(ConfigError, match="focus"):
            Lens.from_dict({"focus": 1})


class TestUpdated:
    def test_other_fields_are_unchanged(self):
        start = Microscope("inverted", Lens(40, 0.5))
        assert start.updated({"lens": {"magnification": 100}}) == Microscope("inverted", Lens(100, 0.5))

    def test_former_keys_are_accepted(self):
        assert Microscope().updated({"lens": {"zoom": 100}}).lens.magnification == 100

    def test_giving_both_names_is_rejected(self):
        with pytest.raises(ConfigError, match=r"--set: zoom was renamed to magnification"):
            Microscope().updated({"lens": {"zoom": 100, "magnification": 40}}, where="--set")

    def test_unknown_keys_are_rejected(self):
        with pytest.raises(ConfigError, match="focus"):
            Microscope().updated({"lens": {"focus": 1}})

    def test_values_are_validated(self):
        with pytest.raises(ConfigError, match=r"lens\.brightness"):
            Microscope().updated({"lens": {"brightness": "dim"}})


def test_a_pipe_is_rejected_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ConfigError, match=r"config\.json is a folder or a device, not a file"):
        read_json(tmp_path / "config.json")
