"""Texts of others are shown on one line and stored as UTF-8, with what is unusual written out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.utils.display import as_utf8, printable


@pytest.mark.parametrize("name", ["Zelle 3.png", "画像/é ü.png", "a\u00a0b\u202f.png", "back\\slash.png"])
def test_ordinary_names_stay_as_they_are(name):
    assert printable(name) == as_utf8(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u2028b", "a\\u2028b"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_characters_that_a_terminal_obeys_are_written_out(name, shown):
    assert printable(name) == shown


@given(st.text(st.characters()))
def test_any_text_can_be_shown_and_stored(text):
    assert "\n" not in printable(text)
    printable(text).encode()
    as_utf8(text).encode()
