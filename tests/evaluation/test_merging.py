"""Subtypes that the training or the test cells do not distinguish are merged."""

from typing import ClassVar

import numpy as np
import pytest

from bc_sam.config.labels import LABELS
from bc_sam.evaluation.merging import merge_columns, merge_indices, merged_labels
from bc_sam.evaluation.metrics import score

BANDED, SEGMENTED = LABELS.index("neutrophil_banded"), LABELS.index("neutrophil_segmented")
TYPICAL, ATYPICAL = LABELS.index("lymphocyte_typical"), LABELS.index("lymphocyte_atypical")
ALL_KINDS = np.arange(len(LABELS))


class TestMergedLabels:
    def test_neutrophils_are_merged_if_the_test_cells_have_one_subtype(self):
        assert merged_labels(ALL_KINDS, np.array([SEGMENTED, TYPICAL, ATYPICAL]), LABELS) == {BANDED: SEGMENTED}

    def test_subtypes_are_merged_if_the_training_cells_have_one(self):
        assert merged_labels(np.array([SEGMENTED, TYPICAL]), ALL_KINDS, LABELS) == {
            BANDED: SEGMENTED,
            ATYPICAL: TYPICAL,
        }

    def test_subtypes_that_both_sides_have_are_not_merged(self):
        assert merged_labels(ALL_KINDS, ALL_KINDS, LABELS) == {}

    def test_the_subtype_of_the_test_cells_takes_precedence(self):
        assert merged_labels(np.array([BANDED]), np.array([SEGMENTED]), LABELS) == {BANDED: SEGMENTED}

    def test_other_label_sets_have_no_subtypes(self):
        assert merged_labels(np.array([0]), np.array([0]), ("proerythroblast", "polychromatic_erythroblast")) == {}


def test_merging_keeps_the_sum_of_probabilities():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(len(LABELS)), size=5)
    merged = merge_columns(probabilities, {BANDED: SEGMENTED})
    assert merged.sum(axis=1) == pytest.approx(np.ones(5))
    assert (merged[:, BANDED] == 0).all()
    assert merged[:, SEGMENTED] == pytest.approx(probabilities[:, BANDED] + probabilities[:, SEGMENTED])
    assert merge_indices(np.array([BANDED, TYPICAL]), {BANDED: SEGMENTED}).tolist() == [SEGMENTED, TYPICAL]


class TestScore:
    IDENTITY: ClassVar = {"classifier": "rf", "source": "others", "target": "south", "fold": 0, "n_train": 9}

    @staticmethod
    def probabilities(**shares):
        row = np.zeros((1, len(LABELS)))
        for label, share in shares.items():
            row[0, LABELS.index(label)] = share
        return row

    def test_the_probabilities_of_merged_labels_are_summed_before_the_prediction(self):
        row = self.probabilities(neutrophil_banded=0.3, neutrophil_segmented=0.3, monocyte=0.4)
        unmerged = score(row, np.array([SEGMENTED]), ALL_KINDS, LABELS, **self.IDENTITY)
        merged = score(row, np.array([SEGMENTED]), ALL_KINDS, LABELS, merged={BANDED: SEGMENTED}, **self.IDENTITY)
        assert (unmerged.accuracy, merged.accuracy) == (0, 1)
        assert merged.merged == {"neutrophil_banded": "neutrophil_segmented"}

    def test_the_restricted_metric_ignores_labels_absent_from_the_test_cells(self):
        rows = np.concatenate(
            [
                self.probabilities(smudge_cell=0.8, monocyte=0.15, basophil=0.05),
                self.probabilities(smudge_cell=0.8, monocyte=0.05, basophil=0.15),
            ]
        )
        true = np.array([LABELS.index("monocyte"), LABELS.index("basophil")])
        result = score(rows, true, ALL_KINDS, LABELS, **self.IDENTITY)
        assert (result.balanced_accuracy, result.restricted) == (0, 1)
