"""The results of one classifier by class."""

import numpy as np
from example_evaluation import example_evaluation

from bc_sam.evaluation.by_class import class_scores, render_by_class

LABELS = ("basophil", "eosinophil", "monocyte")
CONFUSION = np.array([[6, 1, 3], [0, 0, 0], [0, 0, 4]])


def test_only_classes_with_cells_are_listed():
    assert [(scores.label, scores.cells) for scores in class_scores(CONFUSION, LABELS)] == [
        ("basophil", 10),
        ("monocyte", 4),
    ]


def test_scores_are_fractions_of_predicted_and_of_true_cells():
    basophil, monocyte = class_scores(CONFUSION, LABELS)
    assert (basophil.precision.percent, basophil.recall.percent, basophil.f1.percent) == ("100.0", "60.0", "75.0")
    assert (monocyte.precision.percent, monocyte.recall.percent) == ("57.1", "100.0")


def test_the_commonest_mistake_is_named():
    basophil, monocyte = class_scores(CONFUSION, LABELS)
    assert basophil.mistaken_for == ("monocyte", 3)
    assert monocyte.mistaken_for is None


def test_the_text_has_a_block_per_pair_of_laboratories():
    evaluation = example_evaluation(folds=1)
    text = render_by_class(evaluation, "rf")
    for _, target in evaluation.domain_pairs:
        assert f"cells of {target}, % (95 % confidence interval)" in text
    assert text.count("balanced accuracy: ") == len(evaluation.domain_pairs)
    assert "most often mistaken for" in text
