import json
import math

import numpy as np
import pytest

from bc_sam.errors import ConfigError
from bc_sam.evaluation.results import ALL, DiceResult, Evaluation, PairResult, StageTiming

TENTHS = [(0, 0.0, 0.0)] * 5 + [(2, 0.55, 0.5), (0, 0.0, 0.0), (4, 0.75, 0.25), (0, 0.0, 0.0), (2, 0.95, 1.0)]


def pair(
    classifier="rf",
    source="a",
    target="b",
    fold=0,
    accuracy=0.5,
    confusion=((1, 0), (2, 3)),
    missing=(),
    reliability=(),
):
    return PairResult(
        classifier=classifier,
        source=source,
        target=target,
        fold=fold,
        n_train=10,
        n_test=6,
        accuracy=accuracy,
        balanced_accuracy=accuracy / 2,
        macro_f1=accuracy / 4,
        common_accuracy=accuracy,
        confusion=[list(row) for row in confusion],
        missing=list(missing),
        reliability=list(reliability),
    )


def evaluation(*pairs, **more):
    return Evaluation("strict", ["x", "y"], ["a", "b"], seed=1, n_folds=2, pairs=list(pairs), **more)


def test_it_round_trips_through_a_file(tmp_path):
    results = evaluation(
        pair(missing=["y"], reliability=TENTHS),
        dice=[DiceResult("a", 0, 0.9, 0.1, 3)],
        timings=[StageTiming("features", 0, 1.5, 200.0)],
        counts={"a": {"x": 3}},
        notes=["one"],
        environment={"torch": "2"},
    )
    results.save(tmp_path / "evaluation.json")
    assert Evaluation.load(tmp_path / "evaluation.json") == results


def test_an_older_file_without_reliability_loads(tmp_path):
    old = evaluation(pair()).to_dict()
    del old["pairs"][0]["reliability"]
    (tmp_path / "evaluation.json").write_text(json.dumps(old))
    results = Evaluation.load(tmp_path / "evaluation.json")
    assert results == evaluation(pair())
    assert not results.reliability("rf", "a", "b").any()
    assert math.isnan(results.calibration_error("rf", "a", "b"))


def test_a_reliability_with_another_number_of_bins_is_refused(tmp_path):
    broken = evaluation(pair(reliability=TENTHS)).to_dict()
    broken["pairs"][0]["reliability"].pop()
    (tmp_path / "evaluation.json").write_text(json.dumps(broken))
    with pytest.raises(ConfigError, match=r"evaluation\.json: reliability has 9 bins instead of 10"):
        Evaluation.load(tmp_path / "evaluation.json")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "evaluation.json").write_text('{"protocol": "strict"}')
    with pytest.raises(ConfigError, match=r"evaluation\.json is not a valid Evaluation: labels"):
        Evaluation.load(tmp_path / "evaluation.json")


def test_classifiers_and_domain_pairs_keep_the_evaluation_order():
    results = evaluation(
        pair("svm", "b", "a"), pair("rf", "b", "a"), pair("svm", ALL, "a"), pair("rf", "a", "b"), pair("svm", "b", "a")
    )
    assert results.classifiers == ["svm", "rf"]
    assert results.domain_pairs == [("b", "a"), (ALL, "a"), ("a", "b")]


def test_selection_returns_one_result_per_fold():
    folds = [pair(fold=fold) for fold in range(3)]
    others = [pair("svm"), pair(source="b"), pair(target="a")]
    assert evaluation(*folds, *others).select("rf", "a", "b") == folds


def test_mean_and_sample_standard_deviation_over_the_folds():
    results = evaluation(*(pair(fold=i, accuracy=value) for i, value in enumerate((0.2, 0.4, 0.9))))
    mean, std = results.mean_std("rf", "a", "b")
    assert (mean, std) == pytest.approx((0.5, np.std([0.2, 0.4, 0.9], ddof=1)))
    assert results.mean_std("rf", "a", "b", "macro_f1") == pytest.approx((mean / 4, std / 4))


def test_a_single_fold_has_no_deviation_and_no_fold_has_no_mean():
    results = evaluation(pair(accuracy=0.7))
    mean, std = results.mean_std("rf", "a", "b")
    assert mean == 0.7
    assert math.isnan(std)
    assert all(map(math.isnan, results.mean_std("rf", "b", "a")))


def test_the_confusion_is_the_sum_over_the_folds():
    results = evaluation(pair(fold=0), pair(fold=1, confusion=((0, 4), (1, 0))), pair(target="a"))
    assert results.confusion("rf", "a", "b").tolist() == [[1, 4], [3, 3]]
    assert results.confusion("rf", "b", "a").tolist() == [[0, 0], [0, 0]]


def test_the_reliability_is_pooled_over_the_folds_weighted_by_cells():
    other = [(1, 0.05, 1.0), *[(0, 0.0, 0.0)] * 8, (6, 0.91, 0.5)]
    old = pair(fold=2)
    results = evaluation(
        pair(reliability=TENTHS), pair(fold=1, reliability=other), old, pair("svm", reliability=other)
    )
    bins = results.reliability("rf", "a", "b")
    assert bins.shape == (10, 3)
    assert bins[0].tolist() == [1, 0.05, 1]
    assert bins[7].tolist() == [4, 0.75, 0.25]
    assert bins[9] == pytest.approx([8, (2 * 0.95 + 6 * 0.91) / 8, (2 + 3) / 8])


def test_the_calibration_error_is_the_mean_gap_weighted_by_cells():
    results = evaluation(pair(reliability=TENTHS))
    assert results.calibration_error("rf", "a", "b") == pytest.approx((2 * 0.05 + 4 * 0.5 + 2 * 0.05) / 8)
    assert math.isnan(results.calibration_error("svm", "a", "b"))


def test_missing_classes_are_merged_over_folds_in_label_order():
    results = evaluation(pair(fold=0, missing=["y"]), pair(fold=1, missing=["x"]), pair(target="a"))
    assert list(results.missing()) == [("a", "b", ["x", "y"])]
