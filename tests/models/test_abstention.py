"""A cell gets no name when the image, its distance or its probability speaks against it, and the reason is said."""

from dataclasses import replace

import numpy as np
import pytest

from bc_sam.models.abstention import Limits, agreement, assess, image_reasons, shows_cell
from bc_sam.models.inspection import Inspection

SURE = np.array([0.05, 0.9, 0.05])
DISC = ((np.indices((64, 64)) - 32) ** 2).sum(axis=0) < 15**2


@pytest.fixture
def cell():
    """A cell of which nothing bad can be said."""
    picture = np.zeros((64, 64, 3), np.uint8)
    return Inspection(picture, (64, 64), DISC, 1, np.zeros(5), {}, blank=False, blurred=False)


def test_a_good_image_gives_no_reason(cell):
    assert image_reasons(cell) == ()
    said = assess(SURE, 0.5, image_reasons(cell))
    assert (said.label, said.probability, said.abstain, said.reasons) == (1, 0.9, False, ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blank": True}, "shows nothing"),
        ({"mask": np.zeros((64, 64), bool)}, "No cell was found"),
        ({"mask": np.pad(np.ones((4, 4), bool), 30)}, "No cell was found"),
        ({"mask": ((np.indices((64, 64)) - 32) ** 2).sum(axis=0) < 5.7**2}, "perhaps a platelet"),
        ({"cells": 3}, "3 cells"),
        ({"blurred": True}, "out of focus"),
    ],
)
def test_no_name_is_given_from_a_bad_image(cell, change, words):
    said = assess(SURE, 0.5, image_reasons(replace(cell, **change)))
    assert said.abstain
    assert words in said.reasons[0].text


def test_without_a_cell_nothing_is_to_be_said_of_it(cell):
    assert shows_cell(cell)
    assert shows_cell(replace(cell, blurred=True, cells=3))
    assert not shows_cell(replace(cell, blank=True))
    assert not shows_cell(replace(cell, mask=np.zeros((64, 64), bool)))


def test_a_doubtful_outline_is_said_but_does_not_take_the_name(cell):
    cut = np.zeros((64, 64), bool)
    cut[:, :30] = True
    said = assess(SURE, 0.5, image_reasons(replace(cell, mask=cut)))
    assert not said.abstain
    assert "edge" in said.reasons[0].text


def test_the_limits_decide():
    assert assess(SURE, 0.5, limits=Limits(probability=0.95)).abstain
    assert not assess(SURE, 0.5, limits=Limits(probability=0.9)).abstain
    assert assess(SURE, 0.97, limits=Limits(novelty=0.95)).abstain
    assert not assess(SURE, 1.0, limits=Limits(novelty=1)).abstain
    assert not assess(SURE, None).abstain
    assert "99.5 %" in assess(SURE, 0.995).reasons[0].text


def votes(*labels):
    """What classifiers say that find these labels the likeliest, of three."""
    return {f"classifier {number}": np.roll(SURE, label - 1) for number, label in enumerate(labels)}


@pytest.mark.parametrize(
    ("labels", "doubtful"),
    [
        ((1,), False),
        ((1, 1), False),
        ((1, 0), True),
        ((1, 1, 0), False),
        ((1, 0, 2), True),
        ((1, 1, 1, 0, 0, 2), True),
        ((1, 1, 1, 1, 0, 0), False),
    ],
)
def test_a_name_that_no_majority_of_the_classifiers_gives_is_to_be_checked(labels, doubtful):
    said = assess(SURE, 0.5, of_all=votes(*labels))
    assert (said.check, said.abstain) == (doubtful, False)
    agreeing = labels.count(1)
    assert [reason.short for reason in said.reasons] == [f"{agreeing} of {len(labels)} agree"] * doubtful


def test_who_disagree_take_the_name_only_where_it_is_improbable_too():
    limits = Limits(probability=0.95)
    said = assess(SURE, 0.5, limits=limits, of_all=votes(1, 0, 2))
    assert said.abstain
    assert not said.check
    assert [reason.short for reason in said.reasons] == ["unsure", "1 of 3 agree"]
    assert "1 of 3 find this name the likeliest" in said.reasons[1].text


def test_of_a_bad_image_it_is_not_said_that_they_disagree(cell):
    said = assess(SURE, 0.5, image_reasons(replace(cell, blurred=True)), of_all=votes(1, 0, 2))
    assert [reason.short for reason in said.reasons] == ["blurred"]


def test_a_doubtful_outline_is_to_be_checked_and_a_good_cell_is_not(cell):
    cut = np.zeros((64, 64), bool)
    cut[:, :30] = True
    assert assess(SURE, 0.5, image_reasons(replace(cell, mask=cut))).check
    assert not assess(SURE, 0.5, image_reasons(cell)).check


def test_classifiers_agree_by_their_likeliest_label():
    others = {"a": SURE, "b": np.array([0.1, 0.5, 0.4]), "c": np.array([0.9, 0.05, 0.05])}
    assert agreement(others, 1) == 2
