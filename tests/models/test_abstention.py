"""A cell gets no name if its image, OOD score or probability speaks against one, and the reasons are given."""

from dataclasses import replace

import numpy as np
import pytest

from bc_sam.data.mask_quality import COMMON_SCALE
from bc_sam.models.abstention import RejectionThresholds, decide, image_reasons, shows_cell
from bc_sam.models.observation import ObservedCell

SURE = np.array([0.05, 0.9, 0.05])
DISC = ((np.indices((64, 64)) - 32) ** 2).sum(axis=0) < 15**2

SMALL_DISC = ((np.indices((64, 64)) - 32) ** 2).sum(axis=0) < 9**2  # a cell in a whole image, a platelet in 20 µm


@pytest.fixture
def cell():
    """A cell with nothing against a name."""
    return ObservedCell(np.zeros((64, 64, 3), np.uint8), DISC, n_cells=1)


def test_a_small_cell_in_a_whole_image_is_no_platelet(cell):
    assert image_reasons(replace(cell, mask=SMALL_DISC)) == ()


def test_a_good_image_gives_no_reason(cell):
    assert image_reasons(cell) == ()
    decision = decide(SURE, 0.5, image_reasons(cell))
    assert (decision.label, decision.abstain, decision.reasons) == (1, False, ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blank": True}, "shows nothing"),
        ({"mask": np.zeros((64, 64), bool)}, "No cell was found"),
        ({"mask": np.pad(np.ones((4, 4), bool), 30)}, "No cell was found"),
        ({"mask": ((np.indices((64, 64)) - 32) ** 2).sum(axis=0) < 5.7**2}, "perhaps a platelet"),
        ({"mask": SMALL_DISC, "mask_limits": COMMON_SCALE}, "perhaps a platelet"),
        ({"n_cells": 3}, "3 cells"),
        ({"blurred": True}, "out of focus"),
        ({"scale_problem": "No white cell was found."}, "No white cell"),
        ({"no_nucleus": True}, "Nothing is as large and as dark as a nucleus: perhaps a platelet"),
    ],
)
def test_a_bad_image_gets_no_name(cell, change, words):
    decision = decide(SURE, 0.5, image_reasons(replace(cell, **change)))
    assert decision.abstain
    assert words in decision.reasons[0].text


def test_blank_images_and_empty_masks_show_no_cell(cell):
    assert shows_cell(cell)
    assert shows_cell(replace(cell, blurred=True, n_cells=3))
    assert not shows_cell(replace(cell, blank=True))
    assert not shows_cell(replace(cell, mask=np.zeros((64, 64), bool)))


def test_a_suspicious_outline_is_reported_but_the_name_is_kept(cell):
    cut = np.zeros((64, 64), bool)
    cut[:, :30] = True
    decision = decide(SURE, 0.5, image_reasons(replace(cell, mask=cut)))
    assert not decision.abstain
    assert "edge" in decision.reasons[0].text


def test_a_cell_that_is_its_own_ruler_is_named_and_to_be_checked(cell):
    decision = decide(SURE, 0.5, image_reasons(replace(cell, size_assumed=True)))
    assert not decision.abstain
    assert [reason.short for reason in decision.reasons] == ["size unknown"]


def test_without_masks_an_unknown_scale_counts_too(cell):
    bare = replace(cell, mask=None, n_cells=None, scale_problem="The scale could not be measured.")
    (reason,) = decide(SURE, 0.5, image_reasons(bare)).reasons
    assert (reason.short, reason.text, reason.abstain) == ("scale", bare.scale_problem, True)


def test_without_masks_only_the_image_quality_counts(cell):
    bare = replace(cell, mask=None, n_cells=None)
    assert shows_cell(bare)
    assert image_reasons(bare) == ()
    assert [reason.short for reason in image_reasons(replace(bare, blurred=True))] == ["blurred"]
    assert [reason.short for reason in image_reasons(replace(bare, blank=True))] == ["blank"]


def test_a_cell_whose_best_label_is_less_probable_than_the_threshold_gets_no_name():
    assert decide(SURE, 0.5, thresholds=RejectionThresholds(probability=0.95)).abstain
    assert not decide(SURE, 0.5, thresholds=RejectionThresholds(probability=0.9)).abstain


def test_a_cell_whose_ood_score_is_above_the_threshold_gets_no_name():
    assert decide(SURE, 0.97, thresholds=RejectionThresholds(ood=0.95)).abstain
    assert not decide(SURE, 1.0, thresholds=RejectionThresholds(ood=1)).abstain
    assert not decide(SURE, None).abstain
    assert "99.5 %" in decide(SURE, 0.995).reasons[0].text


def test_by_default_a_name_is_more_probable_than_all_others_together():
    assert not decide(np.array([0.51, 0.29, 0.2]), 0.5).abstain
    assert decide(np.array([0.49, 0.2, 0.31]), 0.5).abstain


@pytest.mark.parametrize(("best", "named"), [(0.51, False), (0.59, False), (0.6, True), (0.8, True)])
def test_a_name_needs_a_margin_over_the_second(best, named):
    decision = decide(np.array([best, 1 - best], np.float32), 0.5)
    assert decision.abstain != named
    assert [reason.short for reason in decision.reasons] == ([] if named else ["close second"])


def test_the_margin_follows_the_least_probability_unless_it_is_given():
    close = np.array([0.51, 0.49])
    assert not decide(close, 0.5, thresholds=RejectionThresholds(probability=0)).abstain
    assert decide(close, 0.5, thresholds=RejectionThresholds(probability=0, margin=0.1)).abstain
    assert not decide(close, 0.5, thresholds=RejectionThresholds(margin=0)).abstain
    assert not decide(np.array([1.0]), 0.5).abstain


def test_a_blast_keeps_its_name_and_is_to_be_checked():
    decision = decide(SURE, 0.5, labels=("monocyte", "myeloblast", "basophil"))
    assert not decision.abstain
    assert [reason.short for reason in decision.reasons] == ["blast?"]
    assert "before a person has looked" in decision.reasons[0].text
    assert decide(SURE, 0.5, labels=("myeloblast", "monocyte", "basophil")).reasons == ()


def test_the_strongest_reason_comes_first(cell):
    from_image = image_reasons(
        replace(cell, blurred=True, scale_problem="Too wide.", mask=np.pad(np.ones((64, 30), bool), ((0, 0), (0, 34))))
    )
    decision = decide(np.array([0.4, 0.3, 0.3]), 0.999, from_image)
    assert [reason.short for reason in decision.reasons] == [
        "scale",
        "blurred",
        "out of distribution",
        "unsure",
        "check outline",
    ]
    assert decision.abstain


@pytest.mark.parametrize("change", [{"blank": True}, {"mask": np.zeros((64, 64), bool)}])
def test_where_there_is_no_cell_nothing_is_said_of_classes(cell, change):
    decision = decide(np.array([0.4, 0.3, 0.3]), 1.0, image_reasons(replace(cell, **change)))
    assert decision.abstain
    assert len(decision.reasons) == 1


def test_a_platelet_is_mentioned_once(cell):
    (reason,) = image_reasons(replace(cell, mask=SMALL_DISC, mask_limits=COMMON_SCALE, no_nucleus=True))
    assert reason.short == "very small"


class TestKindsOfOneParent:
    """If only the kind is open, the cell has the name that both kinds share."""

    LABELS = ("neutrophil_banded", "neutrophil_segmented", "monocyte", "lymphocyte_typical", "lymphocyte_atypical")

    @pytest.mark.parametrize("shares", [(0.41, 0.52, 0.07, 0, 0), (0.45, 0.45, 0.1, 0, 0)])
    def test_the_parent_is_named_and_the_kinds_are_said(self, shares):
        decision = decide(np.array(shares), 0.5, labels=self.LABELS)
        assert (decision.abstain, decision.parent) == (False, "neutrophil")
        (reason,) = decision.reasons
        assert reason.short == "which kind?"
        assert "segmented neutrophil 52 %, band neutrophil 41 %" in reason.text or shares[0] == shares[1]

    def test_a_clear_kind_keeps_its_name(self):
        decision = decide(np.array([0.2, 0.75, 0.05, 0, 0]), 0.5, labels=self.LABELS)
        assert (decision.parent, decision.reasons) == ("", ())

    @pytest.mark.parametrize("shares", [(0.3, 0.28, 0.42, 0, 0), (0.25, 0.26, 0.49, 0, 0)])
    def test_a_parent_too_needs_probability_and_margin(self, shares):
        decision = decide(np.array(shares), 0.5, labels=self.LABELS)
        assert (decision.abstain, decision.parent) == (True, "")

    def test_what_else_speaks_against_a_name_still_does(self):
        decision = decide(np.array([0.45, 0.5, 0.05, 0, 0]), 0.999, labels=self.LABELS)
        assert decision.abstain
        assert [reason.short for reason in decision.reasons] == ["out of distribution", "close second"]

    def test_lymphocytes_have_a_parent_too_and_unrelated_classes_none(self):
        assert decide(np.array([0, 0, 0, 0.5, 0.5]), 0.5, labels=self.LABELS).parent == "lymphocyte"
        assert decide(np.array([0, 0.5, 0.5, 0, 0]), 0.5, labels=self.LABELS).abstain


def test_probabilities_that_are_not_finite_give_no_name():
    decision = decide(np.full(3, np.nan), np.nan)
    assert decision.abstain
    assert "no finite values" in decision.reasons[0].text


def test_an_image_of_several_cells_points_to_the_command_for_fields(cell):
    (reason,) = image_reasons(replace(cell, n_cells=3))
    assert "There seem to be 3 cells." in reason.text
    assert "bc-sam count" in reason.text
