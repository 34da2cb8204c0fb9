"""A count is printed as a laboratory does, and its intervals have their nominal coverage."""

from collections import Counter

import numpy as np
import pytest
from example_evaluation import example_evaluation
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.evaluation.naming_error import NamingError
from bc_sam.models.differential import Tally, differential_count

WHITE = ("basophil", "eosinophil", "lymphocyte_typical", "monocyte", "neutrophil_segmented")


@given(st.dictionaries(st.sampled_from(WHITE), st.integers(0, 500), max_size=5))
def test_shares_add_up_and_lie_in_their_intervals(counts):
    lines = differential_count(counts)
    if not sum(counts.values()):
        assert lines == []
        return
    assert {line.label: line.count for line in lines} == counts
    assert sum(line.share for line in lines) == pytest.approx(1)
    assert all(0 <= line.low <= line.share <= line.high <= 1 for line in lines)


def test_intervals_have_nominal_coverage():
    drawn = np.random.default_rng(0).binomial(100, 0.2, size=400)
    held = [
        line.low <= 0.2 <= line.high
        for k in drawn
        for line in differential_count({"a": k, "b": 100 - k})[:2]
        if line.label == "a"
    ]
    assert 0.92 < np.mean(held) < 0.98


def test_published_wilson_intervals_are_reproduced():
    line = next(line for line in differential_count({"a": 8, "b": 2}) if line.label == "a")
    assert (round(line.low, 3), round(line.high, 3)) == (0.490, 0.943)


def test_the_order_is_that_of_a_report_whatever_is_most_common():
    counts = dict.fromkeys(("erythroblast", "myelocyte", "basophil", "monocyte", "lymphocyte_typical"), 9)
    order = ["lymphocyte_typical", "monocyte", "basophil", "myelocyte", "erythroblast"]
    assert [line.label for line in differential_count(counts)] == order


def test_neutrophils_are_one_line_with_their_kinds_below():
    lines = differential_count({"monocyte": 10, "neutrophil_banded": 5, "neutrophil_segmented": 25})
    assert [(line.label, line.count, line.part_of) for line in lines] == [
        ("neutrophil", 30, ""),
        ("neutrophil_segmented", 25, "neutrophil"),
        ("neutrophil_banded", 5, "neutrophil"),
        ("monocyte", 10, ""),
    ]
    assert lines[0].share == 0.75


def test_neutrophils_whose_kind_is_not_certain_are_a_line_of_their_own():
    lines = differential_count({"monocyte": 10, "neutrophil_banded": 0, "neutrophil_segmented": 25, "neutrophil": 5})
    assert [(line.label, line.count, line.part_of) for line in lines] == [
        ("neutrophil", 30, ""),
        ("neutrophil_segmented", 25, "neutrophil"),
        ("neutrophil_banded", 0, "neutrophil"),
        ("neutrophil_undecided", 5, "neutrophil"),
        ("monocyte", 10, ""),
    ]
    assert [line.label for line in differential_count({"neutrophil": 5})] == ["neutrophil"]
    assert [line.label for line in differential_count({"lymphocyte": 5, "lymphocyte_typical": 9})] == [
        "lymphocyte_typical",
        "lymphocyte",
    ]


def test_nucleated_red_cells_and_smudge_cells_are_counted_per_100_white_cells():
    counts = {"monocyte": 40, "basophil": 10, "erythroblast": 5, "smudge_cell": 60}
    monocyte, _, red, smudge = differential_count(counts)
    assert (monocyte.share, red.share, smudge.share) == (0.8, 0.1, 1.2)
    assert (monocyte.outside, red.outside, smudge.outside) == (False, True, True)
    assert red.low < red.share < red.high


def test_without_other_cells_they_are_the_100_percent():
    (red,) = differential_count({"erythroblast": 2})
    assert (red.count, red.share, red.outside) == (2, 1, False)


def test_they_can_be_counted_among_the_100_percent():
    lines = differential_count({"monocyte": 50, "erythroblast": 25, "smudge_cell": 25}, count_all=True)
    assert [line.share for line in lines] == [0.5, 0.25, 0.25]
    assert not any(line.outside for line in lines)


class TestTally:
    def test_a_blast_is_counted_only_once_a_person_has_named_it(self):
        blast = ("myeloblast", "myeloblast", None)
        assert Tally.of([blast, ("monocyte", "monocyte", None)]).counts == {"monocyte": 1}
        assert Tally.of([(*blast[:2], "myeloblast")]).counts == {"myeloblast": 1}

    def test_a_cell_with_a_parents_name_is_counted_under_it_and_measured_by_its_likeliest_kind(self):
        tally = Tally.of([("neutrophil", "neutrophil_segmented", None), ("monocyte", "monocyte", None)])
        assert tally.counts == {"neutrophil": 1, "monocyte": 1}
        assert tally.undecided == {"neutrophil_segmented": 1}

    def test_what_is_no_white_cell_is_not_counted(self):
        cells = [("monocyte", "monocyte", hand) for hand in ("platelet", "giant_platelet", "artefact", "no_cell")]
        assert Tally.of([*cells, ("monocyte", "monocyte", "plasma_cell")]).counts == {"plasma_cell": 1}


class TestErrorOfNaming:
    LABELS = ("monocyte", "lymphocyte_typical", "neutrophil_segmented")
    TRUE = np.array([0.2, 0.3, 0.5])
    CONFUSION = np.array([[70, 25, 5], [20, 75, 5], [2, 3, 95]])

    def lines(self, seed, n, error):
        """The count of cells of known shares that are named with this confusion; every fifth monocyte has no name."""
        random = np.random.default_rng(seed)
        true = random.multinomial(n, self.TRUE)
        named = sum(random.multinomial(k, row / row.sum()) for k, row in zip(true, self.CONFUSION, strict=True))
        unnamed = {"monocyte": int(named[0] // 5)}
        counts = dict(zip(self.LABELS, (named - [unnamed["monocyte"], 0, 0]).tolist(), strict=True))
        return differential_count(counts, tally=Tally(Counter(counts), Counter(), Counter(unnamed)), error=error)

    def coverage(self, error):
        truth = dict(zip(self.LABELS, self.TRUE, strict=True))
        return np.mean(
            [
                line.low <= truth[line.label] <= line.high
                for seed in range(20)
                for line in self.lines(seed, 1000, error)
            ]
        )

    def test_intervals_hold_the_true_share_although_names_are_wrong(self):
        assert self.coverage(NamingError(self.LABELS, self.CONFUSION)) > 0.9
        assert self.coverage(None) < 0.8

    def test_the_fewer_held_out_cells_the_wider_the_intervals(self):
        def width(error):
            return sum(line.high - line.low for line in self.lines(0, 300, error))

        many, few = (NamingError(self.LABELS, self.CONFUSION * factor) for factor in (10, 0.1))
        assert width(None) < width(many) < width(few)

    def test_names_by_hand_are_taken_to_be_right(self):
        error = NamingError(self.LABELS, self.CONFUSION)
        by_hand, none = Counter({"monocyte": 30, "lymphocyte_typical": 70}), Counter()
        hand = differential_count(by_hand, tally=Tally(none, by_hand, none), error=error)
        named = differential_count(by_hand, tally=Tally(by_hand, none, none), error=error)
        assert all(one.high - one.low < other.high - other.low for one, other in zip(hand, named, strict=True))

    def test_undecided_neutrophils_widen_the_interval_of_their_kind_and_count_as_neutrophils(self):
        error = NamingError(self.LABELS, self.CONFUSION * 100)
        counts = Counter({"neutrophil_segmented": 40, "neutrophil": 40, "monocyte": 20})
        tally = Tally(counts, Counter(), Counter(), Counter({"neutrophil_segmented": 40}))
        all_of_them, segmented, undecided, _ = differential_count(counts, tally=tally, error=error)
        assert (all_of_them.label, all_of_them.share) == ("neutrophil", 0.8)
        assert all_of_them.high < 0.95
        assert segmented.high > 0.7
        assert undecided.low > 0.3

    def test_the_confusion_is_that_of_the_model_and_can_be_restricted(self):
        evaluation = example_evaluation()
        classifier = evaluation.classifiers[0]
        error = NamingError.of(evaluation, classifier)
        assert error.labels == tuple(evaluation.labels)
        assert error.confusion.sum() > 0
        some = error.restricted(evaluation.labels[:2])
        assert some.confusion.shape == (2, 2)
        assert NamingError.of(evaluation, "none") is None
        assert NamingError.of(None, classifier) is None
