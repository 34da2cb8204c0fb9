"""Nothing that is written to a CSV becomes a formula; ordinary texts are written as they are, in UTF-8."""

import csv

import pytest

from bc_sam.utils.guarded_csv import GuardedCsv, open_csv


def written(path, *rows):
    with open_csv(path) as file:
        for row in rows:
            GuardedCsv(file).write(row)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("text", ["a-1.png", "0.5", "", "a;b.png", "a, b", "im Bild: =", "é\n画.png"])
def test_ordinary_texts_are_unchanged(tmp_path, text):
    assert written(tmp_path / "t.csv", [text, "x"]) == [[text, "x"]]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", ";", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_what_could_be_a_formula_is_preceded_by_an_apostrophe(tmp_path, start):
    assert written(tmp_path / "t.csv", [f"{start}1+2"]) == [[f"'{start}1+2"]]


@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r"])
def test_so_is_what_follows_a_separator_of_another_spreadsheet(tmp_path, separator):
    assert written(tmp_path / "t.csv", [f"a{separator}=1+2"]) == [[f"a{separator}'=1+2"]]


def test_the_file_is_utf8_whatever_the_locale_and_the_name(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    name = b"caf\xe9 \xc3\xa9.png".decode("utf-8", "surrogateescape")
    assert written(tmp_path / "t.csv", [name]) == [["caf\\udce9 é.png"]]
